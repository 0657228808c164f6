"""A real Chromium, and pages that must not talk to anybody but the server under test."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from chromium import NAMES, SWITCHES, executable

PATIENCE = 20_000
"""Milliseconds after which a test gives up on something that should have happened soon."""

expect.set_options(timeout=PATIENCE)

Open = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium, one for each module of tests. Where there is none the tests are skipped; in CI they fail."""
    path = executable()
    if path is None:
        if os.environ.get("CI"):
            pytest.fail(f"CI has to have a browser: none of {', '.join(NAMES)} is on the PATH")
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is on the PATH")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*SWITCHES])
        yield browser
        browser.close()


@contextmanager
def windows(browser: Browser) -> Iterator[Open]:
    """Opens an address in a window of its own; at the end nothing may have gone elsewhere, and no script may have failed."""
    contexts: list[Any] = []
    asked: set[str] = set()
    own: set[str] = set()
    complaints: list[str] = []

    def opened(url: str, **context: Any) -> Page:
        window = browser.new_context(**context)
        window.set_default_timeout(PATIENCE)
        contexts.append(window)
        page = window.new_page()
        own.add(urlsplit(url).hostname or "")
        page.on("request", lambda request: asked.add(urlsplit(request.url).hostname or ""))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: _listen(said, complaints))
        page.goto(url)
        return page

    yield opened
    for window in contexts:
        window.close()
    assert asked <= own
    assert [] == complaints


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    """`windows` for one test."""
    with windows(browser) as opened:
        yield opened


def _listen(said: Any, complaints: list[str]) -> None:
    """A browser complains of a violated policy on the console; that a server is away is not the page's fault."""
    if said.type == "error" and "Failed to load resource" not in said.text and "ERR_" not in said.text:  # fmt: skip
        complaints.append(said.text)
