"""What the pages name is there: files, functions, tests, other pages."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from docs.pages import PAGES, ROOT, name_of, prose_of

FOLDERS = ("domain", "projections", "infrastructure", "lastword", "tests", "docs", "benchmarks")
_CODE = re.compile(r"`([^`\n]+)`")
_PATH = re.compile(rf"(?P<path>(?:{'|'.join(FOLDERS)})/[\w./-]*)(?:::(?P<name>[\w.]+))?")
_LINK = re.compile(r"(?<!!)\[[^\]]+\]\((?P<target>[^)\s]+)\)|!\[[^\]]*\]\((?P<picture>[^)\s]+)\)")
_TICKET = ROOT / "docs" / "architecture" / "ticket.md"


def named_places(page: Path) -> list[tuple[str, str]]:
    """Every path of the repository that the page's prose names in code, with what is named inside it."""
    found = (_PATH.fullmatch(code) for code in _CODE.findall(prose_of(page)))
    return [(match["path"], match["name"] or "") for match in found if match]


@cache
def definitions(path: Path) -> frozenset[str]:
    """The functions, classes, methods and constants of a module, as ``Class.method``."""
    names = set[str]()

    def walk(nodes: list[ast.stmt], prefix: str) -> None:
        for node in nodes:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                names.add(prefix + node.name)
            elif isinstance(node, ast.ClassDef):
                names.add(prefix + node.name)
                walk(node.body, f"{prefix}{node.name}.")
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names.update(prefix + item.id for item in targets if isinstance(item, ast.Name))

    walk(ast.parse(path.read_text(encoding="utf-8")).body, "")
    return frozenset(names)


def missing(path: str, name: str) -> str:
    """Why the place is not there; empty when it is."""
    target = ROOT / path
    if not target.exists():
        return f"{path} does not exist"
    if name and (target.is_dir() or name not in definitions(target)):
        return f"{path} has no {name}"
    return ""


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_place_that_a_page_names_exists(page: Path) -> None:
    """Whoever goes where the page points finds the file and the function, or the test."""
    problems = (missing(*place) for place in named_places(page))
    assert [] == [problem for problem in problems if problem]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_to_a_page_leads_somewhere(page: Path) -> None:
    """A relative link names a file that is there, and a heading that is in it."""
    problems = list[str]()
    for match in _LINK.finditer(prose_of(page)):
        target = match["target"] or match["picture"]
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = page if not path else (page.parent / path).resolve()
        if not file.exists():
            problems.append(f"{target}: no such file")
        elif anchor and file.suffix == ".md" and anchor not in headings(file):
            problems.append(f"{target}: no such heading")
    assert [] == problems


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings."""
    titles = re.findall(r"^#+ (.+)$", prose_of(page), re.MULTILINE)
    return {
        re.sub(r"[^\w]+", "-", re.sub(r"[`*.']", "", title).lower()).strip("-") for title in titles
    }


def test_the_page_on_the_ticket_names_code_and_tests() -> None:
    """Each point of the ticket is met in code that is named, and held by a test that is named."""
    places = named_places(_TICKET)
    assert len({place for place in places if place[1] and not place[0].startswith("tests/")}) >= 8
    assert len({place for place in places if place[1] and place[0].startswith("tests/")}) >= 8


def test_a_place_that_is_not_there_is_found_out() -> None:
    """A function that was renamed leaves a page behind."""
    assert "domain/gone.py does not exist" == missing("domain/gone.py", "")
    assert "domain/run.py has no decided" == missing("domain/run.py", "decided")
    assert "" == missing("domain/run.py", "RunState.exists")


def test_every_page_is_reached_from_another() -> None:
    """A page without a link to it is found by nobody; indexes and the README count as the way in."""
    linked = {ROOT / "README.md", ROOT / "docs" / "index.md"}
    for page in PAGES:
        for match in _LINK.finditer(prose_of(page)):
            target = (match["target"] or match["picture"]).partition("#")[0]
            if target and "://" not in target:
                linked.add((page.parent / target).resolve())
    assert [] == [name_of(page) for page in PAGES if page not in linked]
