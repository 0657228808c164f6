"""The pages of the documentation, taken apart: fenced blocks, what is shown beside them, what is named in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = tuple(sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]))

RUN = frozenset({"python", "console"})
"""Languages of blocks that the tests run."""
READ = frozenset({"json", "toml", "yaml"})
"""Languages of blocks that the tests parse."""
SHOWN = frozenset({"text"})
"""Languages of blocks that only show something."""
SERVED = frozenset({"sql"})
"""Languages of blocks that a real server runs, in `tests/infrastructure/test_postgres_backup.py`."""
NOT_RUN = re.compile(r"\*Not run by the tests: (?P<reason>[^*]{10,})\*")
"""The note, visible on the page, that takes a block out."""

_FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^`]*)$")
_TITLE = re.compile(r'title="(?P<title>[^"]+)"')


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block of a page."""

    page: Path
    line: int
    """Where its first line stands, counted from 1."""
    language: str
    title: str
    """What stands above it when the page is read; a file's name, or ``Output``."""
    text: str
    not_run: str
    """The reason why the tests leave it out; empty when they do not."""

    @property
    def where(self) -> str:
        """Page and line, as an editor takes them."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def name_of(page: Path) -> str:
    """The page as it is called in messages."""
    return page.relative_to(ROOT).as_posix()


def blocks_of(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    lines = page.read_text(encoding="utf-8").splitlines()
    number = 0
    while number < len(lines):
        opened = _FENCE.match(lines[number])
        number += 1
        if opened is None:
            continue
        indent, start = len(opened["indent"]), number
        while number < len(lines) and lines[number].strip() != "```":
            number += 1
        if number == len(lines):
            raise ValueError(f"{name_of(page)}:{start}: the block is not closed")
        text = "\n".join(line[indent:] for line in lines[start:number])
        number += 1
        after = next((line.strip() for line in lines[number:] if line.strip()), "")
        note = NOT_RUN.match(after)
        title = _TITLE.search(opened["info"])
        language, *_ = opened["info"].split() or [""]
        yield Block(
            page=page,
            line=start + 1,
            language=language,
            title=title["title"] if title else "",
            text=text,
            not_run=note["reason"] if note else "",
        )


def prose_of(page: Path) -> str:
    """The page without its fenced blocks, which are blank lines."""
    fenced, lines = False, list[str]()
    for line in page.read_text(encoding="utf-8").splitlines():
        fence = line.strip().startswith("```")
        lines.append("" if fenced or fence else line)
        fenced ^= fence
    return "\n".join(lines)


def agrees(expected: str, found: str) -> bool:
    """Whether the output is as shown; ``...`` stands for anything, alone on a line for any lines.

    >>> agrees("run ... completed", "run 0190 completed  ")
    True
    """
    pattern = list[str]()
    for line in _lines(expected):
        if line.strip() == "...":
            pattern.append(r"(?:[^\n]*\n)*?")
        else:
            pattern.append(r"[^\n]*?".join(map(re.escape, line.split("..."))) + r"\n")
    return (
        re.fullmatch("".join(pattern), "".join(f"{line}\n" for line in _lines(found))) is not None
    )


def _lines(text: str) -> list[str]:
    lines = [line.rstrip() for line in text.strip("\n").splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    return lines
