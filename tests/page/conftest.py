"""One daemon and one browser for a module's tests; each test has a window, and a sync, of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from destinations.standins.server import Server
from tests.page.town import Town

FLAGS = [
    "--no-sandbox",  # The tests may be root, and the pages are our own.
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
ARTEFACTS = Path(os.environ.get("SYNCER_ARTEFACTS") or Path(__file__).parents[1] / "artefacts")
PATIENCE_MS = 30_000
"""How long anything on the page may take where many tests share a machine; it takes a fraction of a second."""
expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    town = Town(tmp_path_factory.mktemp("page"))
    with Server({"/customerio": town.customerio, "/webhook": town.receiver}):
        town.settle()
        town.live()
        town.serve()
        yield town
        town.process.kill()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield launched
        launched.close()


Open = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser, town: Town) -> Iterator[Open]:
    """Opens the page at a view (`#/…`). Whatever the test does there, nothing may go wrong in it, and nothing may be
    asked of another host."""
    contexts: list[BrowserContext] = []
    wrong: list[str] = []

    def watch(page: Page, url: str, allowed: Sequence[str]) -> None:
        def note(sentence: str) -> None:
            if not any(one in sentence for one in allowed):
                wrong.append(sentence)

        page.on("pageerror", lambda error: note(f"error: {error}"))
        page.on("console", lambda line: line.type in ("error", "warning") and note(f"{line.type}: {line.text}"))
        page.on("request", lambda asked: asked.url.startswith(url) or note(f"asked: {asked.url}"))

    def opened(
        view: str = "#/", *, url: str = "", width: int = 1280, dark: bool = False, allowed: Sequence[str] = ()
    ) -> Page:
        url = url or town.url
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light", has_touch=width < 500
        )
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        page = context.new_page()
        watch(page, url, allowed)
        page.goto(f"{url}/{view}")
        return page

    yield opened
    for context in contexts:
        context.close()

    assert [] == wrong


@pytest.fixture
def shoot() -> Callable[[Page, str], None]:
    """Keeps a picture of the whole page as an artefact of the tests."""

    def kept(page: Page, name: str) -> None:
        ARTEFACTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=ARTEFACTS / f"{name}.png", full_page=True)

    return kept
