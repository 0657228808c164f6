"""Take the screenshots of the web page that the documentation shows: `.venv/bin/python docs/screenshots/make.py`.

A store as it could be on a working day is made in a temporary folder, its clock stands still, a server shows it, and the system's
Chromium takes the pictures, in light and in dark. They are written beside this file.
"""

from __future__ import annotations

import struct
import sys
import tempfile
import threading
import zlib
from pathlib import Path

import realistic
from playwright.sync_api import Browser, sync_playwright

from lastword.infrastructure.web.serving import Server

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent.parent / "tests"))
from chromium import NAMES, SWITCHES, executable  # noqa: E402  # needs the path

PICTURES = {
    "list": ("/", 1200, 860),
    "run": (f"/runs/{realistic.FLAGGED}", 1200, 860),
    "lost": (f"/runs/{realistic.LOST}", 1200, 620),
    "narrow": ("/", 360, 760),
}
"""Address, width and height of each."""
LARGEST = 200_000
"""Bytes of a picture."""


def main() -> None:
    """Take all of them."""
    found = executable()
    if found is None:
        raise SystemExit(f"expected a browser, found none of {', '.join(NAMES)}")
    with (
        tempfile.TemporaryDirectory() as folder,
        realistic.fill(Path(folder) / "runs.db") as tracker,
        sync_playwright() as playwright,
    ):
        ready = threading.Event()
        server = Server(tracker, port=0, when_ready=lambda _: ready.set())
        thread = threading.Thread(target=server.run)
        thread.start()
        ready.wait(20)
        browser = playwright.chromium.launch(executable_path=found, args=[*SWITCHES])
        try:
            for name in PICTURES:
                for scheme in ("light", "dark"):
                    take(browser, server.url, name, scheme)
        finally:
            browser.close()
            server.stop()
            thread.join(20)


def take(browser: Browser, url: str, name: str, scheme: str) -> None:
    """One picture."""
    path, width, height = PICTURES[name]
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if scheme == "dark" else "light",
        reduced_motion="reduce",
    )
    page = context.new_page()
    page.goto(url + path)
    page.locator("#connection[data-state=live]").wait_for()
    target = HERE / f"{name}-{scheme}.png"
    target.write_bytes(packed(page.screenshot()))
    context.close()
    if target.stat().st_size > LARGEST:
        raise SystemExit(f"{target.name}: expected at most {LARGEST:,} bytes, found {target.stat().st_size:,}")  # fmt: skip
    print(f"{target.name}: {target.stat().st_size:,} bytes")


def packed(png: bytes) -> bytes:
    """The same picture with its pixels pressed as hard as it goes; a browser is in a hurry."""
    chunks, at, pixels = [], 8, b""
    while at < len(png):
        length, kind = struct.unpack(">I4s", png[at : at + 8])
        if kind == b"IDAT":
            pixels += png[at + 8 : at + 8 + length]
        else:
            chunks.append(png[at : at + 12 + length])
        at += 12 + length
    body = b"IDAT" + zlib.compress(zlib.decompress(pixels), 9)
    data = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return png[:8] + b"".join(chunks[:-1]) + data + chunks[-1]


if __name__ == "__main__":
    main()
