"""Every example in a docstring of the pure layers runs."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from types import ModuleType

import pytest

import lastword.domain
import lastword.projections


def _modules() -> list[str]:
    packages: list[ModuleType] = [lastword.domain, lastword.projections]
    return [
        info.name
        for package in packages
        for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")
    ]


@pytest.mark.parametrize("name", _modules())
def test_the_examples_of_a_module_are_true(name: str):
    """As modules of the package, so that their relative imports work."""
    assert 0 == doctest.testmod(importlib.import_module(name)).failed


def test_there_are_examples():
    """An empty finder would pass every module."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    examples = {
        name: sum(len(test.examples) for test in finder.find(importlib.import_module(name)))
        for name in _modules()
    }
    assert examples["lastword.domain.values"] >= 8
    assert examples["lastword.projections.queries"] >= 3
