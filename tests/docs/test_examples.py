"""Every page does what it says: its Python and its commands run, and print what is shown."""

from __future__ import annotations

import doctest
import json
import tomllib
from pathlib import Path

import pytest
import yaml

import docs.pages
from docs.pages import PAGES, READ, ROOT, RUN, SERVED, SHOWN, Block, agrees, blocks_of, name_of
from docs.playing import Player

IN_A_KERNEL = ROOT / "docs" / "how-to" / "jupyter.md"
"""Its cells are run by `test_recipes.py`."""
PLAYABLE = [
    page
    for page in PAGES
    if page != IN_A_KERNEL and any(block.language in RUN for block in blocks_of(page))
]
ALL_BLOCKS = [block for page in PAGES for block in blocks_of(page)]


@pytest.mark.parametrize("page", PLAYABLE, ids=name_of)
def test_a_page_does_what_it_says(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever types what the page shows gets what the page shows, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    for variable in ("LASTWORD_URL", "LASTWORD_RUN_ID"):
        monkeypatch.delenv(variable, raising=False)
    player = Player(tmp_path)
    for block in blocks_of(page):
        if not block.not_run:
            player.play(block)


def test_every_block_has_a_language_that_is_looked_after() -> None:
    """A block in another language would be shown and never checked."""
    known = RUN | READ | SERVED | SHOWN
    assert [] == [
        f"{block.where}: {block.language or 'no language'}"
        for block in ALL_BLOCKS
        if block.language not in known and not block.not_run
    ]


@pytest.mark.parametrize(
    "block", [block for block in ALL_BLOCKS if block.language in READ], ids=lambda b: b.where
)
def test_shown_data_can_be_read(block: Block) -> None:
    """What is shown as JSON, TOML or YAML is that; JSON may be one object a line."""
    if block.language == "toml":
        assert tomllib.loads(block.text)
    elif block.language == "yaml":
        assert isinstance(yaml.safe_load(block.text), dict)
    else:
        assert [json.loads(line) for line in block.text.splitlines()]


def test_a_block_that_is_left_out_would_be_run_otherwise() -> None:
    """The note stands only under blocks that need it, and there are few of them."""
    left_out = [block for block in ALL_BLOCKS if block.not_run]
    assert [] == [block.where for block in left_out if block.language in READ | SHOWN]
    assert len(left_out) / len(ALL_BLOCKS) < 0.06


def test_the_pages_are_found() -> None:
    """The README and the tutorial are among the pages that run."""
    assert {ROOT / "README.md", ROOT / "docs" / "tutorial.md"} <= set(PLAYABLE)


def page_with(folder: Path, text: str) -> Block:
    """The only block of a page with this text."""
    page = folder / "page.md"
    page.write_text(text, encoding="utf-8")
    (block,) = blocks_of(page)
    return Block(
        page=ROOT / "page.md",
        line=block.line,
        language=block.language,
        title=block.title,
        text=block.text,
        not_run=block.not_run,
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("```python\nassert False, 'no'\n```", "AssertionError: no"),
        ("```console\n$ echo one\ntwo\n```", "the page says\ntwo"),
        ("```console\n$ false\n```", "ended with 1"),
        ("```console\n$ exit 3\n$ echo\n```", "the shell ended after 0 of 2"),
    ],
    ids=["python that raises", "other output", "a failing command", "a shell that ends"],
)
def test_a_wrong_page_fails(tmp_path: Path, text: str, message: str) -> None:
    """A page that does not do what it says is found out, with the place."""
    with pytest.raises(AssertionError, match=message) as failure:
        Player(tmp_path).play(page_with(tmp_path, text))
    assert "page.md:2" in str(failure.value)


def test_a_shown_exit_code_is_no_failure(tmp_path: Path) -> None:
    """Commands that answer no are documented with the code that they end with."""
    text = "```console\n$ false\n$ echo $?\n1\n$ export NAME=x\n$ echo $NAME\nx\n```"
    player = Player(tmp_path)
    player.play(page_with(tmp_path, text))
    player.play(page_with(tmp_path, "```console\n$ echo again $NAME\nagain x\n```"))


@pytest.mark.parametrize(
    ("expected", "found", "agreed"),
    [
        ("a", "a\n", True),
        ("a", "b", False),
        ("a", "a\nb", False),
        ("a ... c", "a b c", True),
        ("a\n...\nd", "a\nb\nc\nd", True),
        ("a\n...\nd", "a\nb\nc", False),
        ("a.b", "axb", False),
    ],
)
def test_output_is_compared_line_by_line(expected: str, found: str, agreed: bool) -> None:
    """Dots stand for what changes from run to run; all else is literal."""
    assert agreed == agrees(expected, found)


def test_the_examples_in_the_helper_run() -> None:
    """Examples in docstrings are true."""
    assert (0, 1) == tuple(doctest.testmod(docs.pages))
