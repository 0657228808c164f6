"""The face of the package: every public name is there, and is imported when it is first asked for."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import lastword


def test_every_public_name_is_what_type_checkers_are_told():
    """The imports that only type checkers see, the list of names and what is given at run time agree."""
    assert lastword.__file__ is not None
    tree = ast.parse(Path(lastword.__file__).read_text(encoding="utf-8"))
    told = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lastword.")
        for alias in node.names
    }
    assert sorted(lastword.__all__) == sorted(told)
    for name, module in told.items():
        given = getattr(lastword, name)
        assert given is getattr(sys.modules[module or ""], name)
    assert set(lastword.__all__) <= set(dir(lastword))


def test_a_name_that_is_not_there_is_an_attribute_error():
    """So that `hasattr` and `from lastword import ...` answer as usual."""
    assert not hasattr(lastword, "RunTracer")
    with pytest.raises(ImportError, match="RunTracer"):
        exec("from lastword import RunTracer")


def test_importing_the_package_imports_nothing_else():
    """Pytest loads it at every start, for the plugin."""
    code = "import sys, lastword; print(*sorted(n for n in sys.modules if n.startswith(('lastword', 'pydantic'))))"
    answer = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    assert "lastword" == answer.stdout.strip()
