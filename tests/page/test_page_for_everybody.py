"""The page on a phone, in the dark, by keyboard alone and to a screen reader; and what it keeps out."""

from __future__ import annotations

import http.server
import re
import threading
from collections.abc import Callable, Iterator

import pytest
import requests
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.page.conftest import Open
from tests.page.test_page import card
from tests.page.town import Town
from tests.workplace import until

Shoot = Callable[[Page, str], None]
TOKEN = "a-token-for-the-page"
NAME = "(one) => one.getAttribute('aria-label') || one.getAttribute('href')"


def views(town: Town) -> dict[str, str]:
    """A view's heading → its address."""
    run = town.journal("customerio.people")[0].id
    return {"Overview": "#/", "webhook.parked": "#/syncs/webhook.parked", f"Run {run}": f"#/runs/{run}"}


def against(page: Page) -> list[tuple[str, str]]:
    """(rule, element) of what axe has against the page as it is now."""
    return [(one["id"], one["nodes"][0]["html"]) for one in Axe().run(page).response["violations"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_use_it(town: Town, open_page: Open, shoot: Shoot, scheme: str) -> None:
    """On a phone of 360 pixels, in the light and in the dark, every view fits, and axe finds nothing against it."""
    page = open_page(width=360, dark=scheme == "dark")
    found: list[tuple[str, str]] = []
    for name, view in views(town).items():
        page.goto(f"{town.url}/{view}")
        expect(page.locator("h1")).to_have_text(name)
        shoot(page, f"phone-{scheme}-{name.split()[0].lower()}")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
        assert [] == page.evaluate(
            "[...document.querySelectorAll('main button, main select, main input')].filter((one) => "
            "one.getClientRects().length && one.getBoundingClientRect().height < 40).map((one) => one.textContent)"
        )
        # Colours are the only difference, and `test_colours` compares them all; axe takes its time.
        if (name == "Overview") == (scheme == "dark"):
            found += against(page)
    page.goto(f"{town.url}/#/")
    expect(page.locator("h1")).to_be_focused()
    page.get_by_role("button", name="Run now").first.click()
    shoot(page, f"phone-{scheme}-dialog")
    found += against(page)

    assert [] == found
    page.set_viewport_size({"width": 1280, "height": 900})
    page.keyboard.press("Escape")
    shoot(page, f"desktop-{scheme}-overview")


def test_the_keyboard_alone_is_enough(town: Town, open_page: Open) -> None:
    """From the top by Tab to a sync, into the dialog, out by Escape and back to where one was, and through to a run."""
    page = open_page()
    one = card(page, "webhook.keyboard")
    expect(one).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="To the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()

    button = one.get_by_role("button", name="Run now")
    passed = []
    while not button.evaluate("(one) => one === document.activeElement"):
        page.keyboard.press("Tab")
        passed.append(page.evaluate(f"({NAME})(document.activeElement)"))
        assert len(passed) < 60, passed
    assert "2px" == button.evaluate("(one) => getComputedStyle(one).outlineWidth")
    order = page.evaluate(f"""[...document.querySelectorAll('main a:not([tabindex="-1"]), main button')].map({NAME})""")
    assert order[: len(passed)] == passed

    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("Your name")).to_be_focused()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(button).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.type("Kay")
    page.keyboard.press("Enter")
    expect(dialog).to_have_count(0)
    expect(button).to_be_focused()
    expect(page.get_by_role("status").filter(has_text="webhook.keyboard was asked to run.")).to_be_visible()
    until(lambda: [("Kay", "run")] == town.acts("webhook.keyboard")[-1:], "the run is asked for")
    until(lambda: len(town.journal("webhook.keyboard")) == 2, "it runs")


def test_a_change_of_state_is_said_aloud(town: Town, open_page: Open) -> None:
    """What happens to a sync while one looks is told to a screen reader, once."""
    page = open_page()
    expect(card(page, "webhook.calm")).to_be_visible()
    town.sql("UPDATE calm SET score = score + 500")
    town.run_all("webhook.calm")

    expect(page.locator("#told")).to_contain_text("webhook.calm: held")
    town.sql("UPDATE calm SET score = score - 500")
    town.run_all("webhook.calm")
    expect(page.locator("#told")).to_contain_text("webhook.calm: done")


# What is kept out.


@pytest.fixture
def elsewhere() -> Iterator[Callable[[str], str]]:
    """Another site: serves a page, and gives its address."""
    pages: list[bytes] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(pages[0])

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()

    def serves(html: str) -> str:
        pages[:] = [html.encode()]
        return f"http://localhost:{server.server_port}/"

    yield serves
    server.shutdown()
    server.server_close()


def test_no_other_site_can_press_a_button(town: Town, open_page: Open, elsewhere: Callable[[str], str]) -> None:
    """A page of another site can neither send what a button sends nor show this page in a frame for people to click."""
    before = town.ask("/api/journal")["acts"]
    target = f"{town.url}/api/syncs/webhook.calm/pause"
    page = open_page(allowed=("",))
    page.goto(
        elsewhere(
            f"<!doctype html><form method=post enctype=text/plain action={target} target=f><input name=a></form>"
            f"<iframe name=f></iframe><iframe id=framed src={town.url}/></iframe>"
        )
    )
    tried = page.evaluate(
        """async (url) => {
          const body = JSON.stringify({by: "Mallory"});
          const options = [
            {method: "POST", mode: "no-cors", credentials: "include", body},
            {method: "POST", mode: "no-cors", credentials: "include", body, headers: {"Content-Type": "text/plain"}},
            {method: "POST", credentials: "include", body, headers: {"Content-Type": "application/json"}},
          ];
          document.forms[0].submit();
          return Promise.all(options.map((one) => fetch(url, one).then((answer) => answer.type, () => "blocked")));
        }""",
        target,
    )
    until(lambda: page.frame(name="f").url == target or page.wait_for_timeout(20), "the form is sent")

    assert ["opaque", "opaque", "blocked"] == tried
    assert before == town.ask("/api/journal")["acts"]
    assert None is town.ask("/api/syncs/webhook.calm")["paused"]
    assert "chrome-error://chromewebdata/" == page.locator("#framed").element_handle().content_frame().url


def test_what_the_page_is_made_of_is_guarded(town: Town) -> None:
    """Every file of the page forbids what it does not need; what the service knows is in no cache."""
    page = requests.get(town.url, timeout=10)
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"<script(?![^>]* src=)|<style|style=|onclick|https?://", page.text)
    for name in re.findall(r'(?:src|href)="(/page/[^"]+)"', page.text):
        file = requests.get(town.url + name, timeout=10)
        assert (200, policy, "nosniff") == (
            file.status_code, file.headers["Content-Security-Policy"], file.headers["X-Content-Type-Options"]
        )  # fmt: skip
        again = requests.get(town.url + name, headers={"If-None-Match": file.headers["ETag"]}, timeout=10)
        assert (304, b"") == (again.status_code, again.content)
    assert "no-store" == requests.get(f"{town.url}/api/syncs", timeout=10).headers["Cache-Control"]


def test_with_a_token_one_signs_in(town: Town, open_page: Open) -> None:
    """A wrong token is a sentence, the right one opens the page for this browser, signing out closes it again. When the
    service does not answer any more, the page says so and keeps what it has."""
    guarded = Town(town.folder / "guarded")
    guarded.customerio, guarded.receiver = town.customerio, town.receiver
    guarded.settle(f'token = "{TOKEN}"\n')
    guarded.serve()
    try:
        page = open_page(url=guarded.url, allowed=("401", "ERR_CONNECTION_REFUSED"))
        page.get_by_label("Token").fill("wrong")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert").filter(has_text="That is not the token.")).to_be_visible()
        page.get_by_label("Token").fill(TOKEN)
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Overview")).to_be_visible()
        (cookie,) = page.context.cookies()
        assert (True, "Strict", False) == (cookie["httpOnly"], cookie["sameSite"], TOKEN in cookie["value"])
        assert TOKEN not in page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, location.href])")

        page.get_by_role("button", name="Sign out").click()
        page.get_by_label("Token").fill(TOKEN)
        page.keyboard.press("Enter")
        expect(card(page, "webhook.calm")).to_be_visible()
        guarded.process.kill()
        expect(page.locator("#pulse")).to_have_text("no answer, asking again")
        expect(card(page, "webhook.calm")).to_be_visible()
    finally:
        guarded.process.kill()
