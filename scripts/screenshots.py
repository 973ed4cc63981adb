"""Takes the screenshots of `docs/screenshots`: a run on the embedded network, then the dashboard in Chromium.

uv run python scripts/screenshots.py              a run of a minute first
uv run python scripts/screenshots.py --state DIR  of a state folder that is there
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from playwright.sync_api import sync_playwright

OUT = Path(__file__).resolve().parent.parent / "docs" / "screenshots"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
COMMAND = "import sys; sys.argv[0] = {0!r}; from quickstart.cli.main import {0}; {0}()"
DESK, PHONE = {"width": 1000, "height": 680}, {"width": 390, "height": 844}

SHOTS: tuple[tuple[str, str, Literal["light", "dark"], dict[str, int]], ...] = (
    ("overview-light", "", "light", DESK),
    ("overview-dark", "", "dark", DESK),
    ("overview-phone", "", "dark", PHONE),
    ("submissions", "submissions", "light", DESK),
    ("epochs", "epochs", "light", DESK),
    ("plots-dark", "plots", "dark", DESK),
)


def argv(command: str, *arguments: object) -> list[str]:
    return [sys.executable, "-c", COMMAND.format(command), *map(str, arguments)]


@contextmanager
def dashboard(state: Path) -> Iterator[str]:
    """Its address while it is served."""
    line = argv("dashboard", "--port", 0, "--state", state)
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[1].rstrip("/;,")
        finally:
            process.terminate()


def take(address: str) -> None:
    executable = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if executable is None:
        raise SystemExit(f"none of {', '.join(BROWSERS)} is installed")
    as_root = ["--no-sandbox"] if os.geteuid() == 0 else []
    OUT.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=as_root)
        for name, path, look, size in SHOTS:
            page = browser.new_page(color_scheme=look, viewport={"width": size["width"], "height": size["height"]})
            page.goto(address)
            page.goto(page.url + path)
            file = OUT / f"{name}.png"
            page.screenshot(path=file)
            page.close()
            print(f"{file.name:<20} {file.stat().st_size // 1000} kB")
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=Path, metavar="DIR", help="show this state folder")
    parser.add_argument("--source", default="/usr/share", metavar="DIR", help="files to score; the path is shown")
    arguments = parser.parse_args()
    given: Path | None = arguments.state
    with TemporaryDirectory() as folder:
        state = given or Path(folder) / "state"
        if given is None:
            run = ("--network", "devnet", "--windows", 120, "--source", arguments.source)
            subprocess.run(argv("submit", "--state", state, *run), check=True)
        with dashboard(state) as address:
            take(address)


if __name__ == "__main__":
    main()
