"""The pictures of the web page in the documentation."""

from __future__ import annotations

from docs.pages import PAGES, ROOT

FOLDER = ROOT / "docs" / "screenshots"
LARGEST = 200_000  # bytes


def test_pictures_are_small_and_come_in_light_and_dark() -> None:
    """Each is made twice by `docs/screenshots/make.py`, and nobody waits for them."""
    pictures = sorted(FOLDER.glob("*.png"))
    names = {picture.stem.rpartition("-")[0] for picture in pictures}
    assert names
    assert sorted(f"{name}-{scheme}.png" for name in names for scheme in ("dark", "light")) == [
        picture.name for picture in pictures
    ]
    assert {} == {p.name: size for p in pictures if (size := p.stat().st_size) > LARGEST}
    assert all(picture.read_bytes().startswith(b"\x89PNG\r\n") for picture in pictures)


def test_every_picture_is_shown_somewhere() -> None:
    """A picture that no page shows is nobody's."""
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert [] == [p.name for p in FOLDER.glob("*.png") if f"screenshots/{p.name}" not in text]
