"""The browser of the system: where it is, and how it is started so that it does nothing of its own accord."""

import shutil

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
SWITCHES = (
    "--no-sandbox",
    "--headless",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


def executable() -> str | None:
    """Its path; None when there is none."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)
