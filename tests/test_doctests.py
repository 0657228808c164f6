"""Every example in a docstring of the package runs, and gives what it says."""

from __future__ import annotations

import doctest
import importlib.util
import pkgutil
from pathlib import Path

import pytest

import lastword.domain
import lastword.infrastructure
import lastword.projections

_EXAMPLE = ">>> "


def _modules() -> list[str]:
    """Those whose source shows an example; the others are not imported."""
    # The rooms lie in folders of their own: `lastword.__path__` alone does not lead to them.
    rooms = (lastword, lastword.domain, lastword.projections, lastword.infrastructure)
    names = [
        info.name
        for room in rooms
        for info in pkgutil.walk_packages(room.__path__, f"{room.__name__}.")
    ]
    specs = map(importlib.util.find_spec, ["lastword", *names])
    return [
        spec.name
        for spec in specs
        if spec is not None and spec.origin and _EXAMPLE in Path(spec.origin).read_text("utf-8")
    ]


MODULES = _modules()


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_are_true(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """In an empty folder, without settings from outside."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LASTWORD_URL", raising=False)
    module = importlib.import_module(name)
    found = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert (0, True) == (found.failed, found.attempted > 0)


def test_examples_are_found_in_every_room():
    """A finder that finds nothing would pass."""
    rooms = {name.split(".")[1] for name in MODULES if name.count(".") > 1}
    assert {"domain", "projections", "infrastructure"} <= rooms
    assert 40 < len(MODULES)
