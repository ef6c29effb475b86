"""What people see on the page, and what its buttons do, in a real Chromium against a real daemon."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable

import requests
from playwright.sync_api import Locator, Page, expect

from destinations.standins.server import Answer
from tests.page.conftest import Open
from tests.page.town import CHANGED, HOSTILE, NIGHTS, PEOPLE, SCRIPT, SECRET, Town
from tests.workplace import until

Shoot = Callable[[Page, str], None]
EQUATION = re.compile(
    r"([\d,]+) planned = ([\d,]+) accepted \+ ([\d,]+) rejected \+ ([\d,]+) deferred \+ ([\d,]+) unsent"
)


def card(page: Page, sync: str) -> Locator:
    """A sync on the overview."""
    return page.get_by_role("article", name=sync, exact=True)


def counts(place: Locator) -> list[int]:
    """planned, accepted, rejected, deferred, unsent, as they are said."""
    found = EQUATION.fullmatch(place.locator(".equation").get_attribute("aria-label") or "")
    assert found

    return [int(one.replace(",", "")) for one in found.groups()]


def confirm(page: Page, button: str, who: str = "Ada", why: str = "") -> None:
    """Answer the dialog that is open."""
    dialog = page.get_by_role("dialog")
    if why:
        dialog.get_by_label("Why").fill(why)
    dialog.get_by_label("Your name").fill(who)
    dialog.get_by_role("button", name=button).click()
    expect(dialog).to_have_count(0)


def test_the_overview_says_where_every_sync_stands(town: Town, open_page: Open, shoot: Shoot) -> None:
    """Each sync has its state, its counts, which add up, its runs, the age of its source, and what is parked."""
    page = open_page()
    people, held, parked = (card(page, name) for name in ("customerio.people", "webhook.held", "webhook.parked"))

    expect(people.locator(".badge")).to_have_text("✓done")
    expect(held.locator(".badge")).to_have_text("!held")
    assert [[CHANGED, CHANGED, 0, 0, 0], [100, 0, 0, 0, 100], [6, 3, 3, 0, 0]] == [
        counts(one) for one in (people, held, parked)
    ]
    for place in page.locator(".equation").all():
        label = place.get_attribute("aria-label") or ""
        planned, *others = [int(one.replace(",", "")) for one in re.findall(r"[\d,]*\d", label)]
        assert planned == sum(others)
    expect(parked.locator("dl")).to_contain_text("Parked3")
    expect(people.locator("dl")).to_contain_text(
        re.compile(r"Last run.*took .* s.*Next runin \d+ d.*Source changed(now|\d+ s ago)")
    )
    expect(people.locator("dl")).to_contain_text(f"Known{PEOPLE:,}")
    expect(page.get_by_role("list", name="All syncs")).to_contain_text("1 held")
    need = page.get_by_role("region", name="Needs somebody")
    expect(need).to_contain_text("changed_max")
    expect(need).to_contain_text(town.ask("/api/holds")["holds"][0]["holds"][0]["sentence"].split("`")[0].strip())
    shoot(page, "overview")


def test_a_run_is_asked_for_by_a_button(town: Town, open_page: Open) -> None:
    """The dialog says where to and how many; the run goes out, the page shows it, and the journal has who."""
    page = open_page()
    town.sql("UPDATE calm SET score = score + 1000 WHERE user_id = 'calm-7'")
    seen = threading.Event()
    town.receiver.trouble("slow", when=lambda _: seen.wait(60))
    card(page, "webhook.calm").get_by_role("button", name="Run now").click()
    dialog = page.get_by_role("dialog", name="Run webhook.calm now?")
    expect(dialog).to_contain_text("200 known")
    expect(dialog).to_contain_text("webhook")
    dialog.get_by_label("Your name").fill("   ")
    dialog.get_by_role("button", name="Run").click()
    expect(dialog.get_by_role("alert")).to_have_text("Say who you are: the journal keeps it.")
    confirm(page, "Run")

    expect(page.get_by_text("webhook.calm was asked to run.")).to_be_visible()
    expect(card(page, "webhook.calm").locator(".badge.running")).to_be_visible()
    seen.set()
    expect(card(page, "webhook.calm").locator(".equation")).to_have_attribute(
        "aria-label", re.compile("^1 planned = 1 accepted")
    )
    assert [("Ada", "run")] == town.acts("webhook.calm")
    held = town.receiver.held(id="calm-7")
    assert held
    assert 1007 == held["score"]
    expect(page.get_by_role("region", name="Journal")).to_contain_text("Ada asked for a run of webhook.calm")

    page.get_by_role("button", name="Run now").first.click()
    expect(page.get_by_label("Your name")).to_have_value("Ada")


def test_a_held_plan_is_refused_and_then_released(town: Town, open_page: Open) -> None:
    """Both say what they do to how many records where; the release sends exactly that plan; who did it is kept."""
    page = open_page("#/syncs/webhook.held")
    need = page.locator(".need")
    need.get_by_role("button", name="Refuse").click()
    expect(page.get_by_role("dialog")).to_contain_text("None of the 100 changes is sent to")
    confirm(page, "Refuse", "Grace", "the usage table is half empty")
    expect(need).to_contain_text("Refused by Grace")
    expect(need).to_contain_text("the usage table is half empty")
    expect(need.get_by_role("button", name="Refuse")).to_have_count(0)

    need.get_by_role("button", name="Release 100 changes").click()
    expect(page.get_by_role("dialog")).to_contain_text("100 changes will be sent to")
    confirm(page, "Release", "Ada")
    expect(page.locator(".need")).to_have_count(0)
    expect(page.locator(".equation")).to_have_attribute("aria-label", re.compile("^100 planned = 100 accepted"))

    assert [("Grace", "refuse"), ("Ada", "approve")] == town.acts("webhook.held")[:2]
    newest = town.journal("webhook.held")[0]
    assert ("done", 100) == (newest.result, newest.accepted)
    assert {"changed_max", "approval"} <= set(newest.released)
    held = town.receiver.held(id="held-199")
    assert held
    assert 299 == held["score"]


def test_what_fails_for_one_reason_is_said_once(town: Town, open_page: Open) -> None:
    """Runs that one destination ended for one reason need somebody once, by that reason, until they are done again."""
    town.receiver.trouble("status", times=None, answer=Answer(401, {"message": "no"}))
    for name in ("calm", "keyboard"):
        town.sql(f"UPDATE {name} SET note = 'y' WHERE user_id = '{name}-3'")
    town.run_all("webhook.calm", "webhook.keyboard")
    page = open_page()
    failed = page.locator(".need.failed")
    expect(failed).to_have_count(1)
    expect(failed).to_contain_text("refused the signature (401)")
    expect(failed.locator(".name")).to_have_text(["webhook.calm", "webhook.keyboard"])
    expect(page.get_by_role("list", name="All syncs")).to_contain_text("2 failed")

    town.receiver.troubles.clear()
    town.run_all("webhook.calm", "webhook.keyboard")
    expect(failed).to_have_count(0)


def test_a_parked_record_is_retried(town: Town, open_page: Open, shoot: Shoot) -> None:
    """Reasons and attempts are shown, whatever they say; a retried record goes with the next run."""
    page = open_page("#/syncs/webhook.parked")
    rows = page.get_by_role("region", name="Parked records").locator("tbody tr")
    expect(rows).to_have_count(3)
    expect(rows.first.locator("code")).to_have_text(HOSTILE)
    expect(rows.first).to_contain_text(f"It says {SCRIPT} and {HOSTILE}")
    shoot(page, "parked")
    rows.first.get_by_role("button", name="Retry").click()
    expect(page.get_by_role("dialog", name=f"Retry {HOSTILE}?")).to_contain_text("1 record will go to")
    confirm(page, "Retry")
    page.get_by_role("button", name="Run now").click()
    confirm(page, "Run")

    expect(rows.first.locator("[data-word=attempts]")).to_have_text("2")
    assert [("Ada", "retry"), ("Ada", "run")] == town.acts("webhook.parked")
    page.goto(f"{town.url}/#/runs/{town.journal('webhook.parked')[-1].id}")
    expect(page.get_by_text(f"It says {SCRIPT}").first).to_be_visible()
    assert None is page.evaluate("window.hacked ?? null")
    assert 0 == page.locator("img[src=x], script:not([src])").count()


def test_a_sync_is_paused_and_resumed(town: Town, open_page: Open) -> None:
    """A paused sync says so and takes no run, and the dialog says why not; who paused and resumed it is kept."""
    page = open_page(allowed=("409",))
    one = card(page, "webhook.keyboard")
    one.get_by_role("button", name="Pause").click()
    confirm(page, "Pause", why="a migration")
    expect(one.locator(".badge").last).to_have_text("‖paused")
    expect(one.get_by_role("button", name="Run now")).to_be_disabled()
    assert ("Ada", "a migration") == tuple(
        town.ask("/api/syncs/webhook.keyboard")["paused"][name] for name in ("by", "reason")
    )

    page.reload()
    other = card(page, "webhook.calm")
    other.get_by_role("button", name="Run now").click()
    requests.post(f"{town.url}/api/syncs/webhook.calm/pause", json={"by": "Grace"}, timeout=10)
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Run").click()
    expect(dialog.get_by_role("alert")).to_have_text("webhook.calm is paused by Grace. Resume it first.")
    dialog.get_by_role("button", name="Cancel").click()
    requests.post(f"{town.url}/api/syncs/webhook.calm/resume", json={"by": "Grace"}, timeout=10)

    one.get_by_role("button", name="Resume").click()
    confirm(page, "Resume")
    expect(one.get_by_role("button", name="Run now")).to_be_enabled()
    assert [("Ada", "pause"), ("Ada", "resume")] == town.acts("webhook.keyboard")


def test_changes_are_found_among_thousands(town: Town, open_page: Open, shoot: Shoot) -> None:
    """Kind, outcome, field and key are filters, pages go on and back, and nothing sensitive reaches the browser."""
    newest = town.journal("customerio.people")[0]
    answers: list[str] = []
    page = open_page("")
    page.on("response", lambda answer: answers.append(answer.text()) if "/api/" in answer.url else None)
    page.goto(f"{town.url}/#/runs/{newest.id}")
    pages = page.get_by_role("navigation", name="Pages of changes")
    expect(pages).to_contain_text(f"1 to 50 of {CHANGED:,} changes")
    expect(page.locator(".changes > li")).to_have_count(50)
    shoot(page, "run")
    pages.get_by_role("button", name="Next").click()
    expect(pages).to_contain_text(f"51 to 100 of {CHANGED:,} changes")
    expect(page.locator(".changes code").first).to_have_text("u_00050")
    pages.get_by_role("button", name="Back").click()
    expect(page.locator(".changes code").first).to_have_text("u_00000")

    search = page.get_by_role("search")
    search.get_by_label("Record").fill("u_01234")
    expect(pages).to_contain_text("1 to 1 of 1 change")
    expect(page.locator(".changes > li")).to_contain_text("u_01234")
    expect(page.locator(".changes > li dd").first).to_have_text(re.compile(r"^[\d.]+ → [\d.]+$"))
    assert "u_01234" not in page.url
    search.get_by_label("Record").fill("")
    search.get_by_label("Field").select_option("band")
    expect(pages).not_to_contain_text(f"{CHANGED:,}")
    expect(page.locator(".changes dt").first).to_have_text("band")
    search.get_by_label("Outcome").select_option("rejected")
    expect(page.get_by_text("No change is like that.")).to_be_visible()
    search.get_by_label("Outcome").select_option("accepted")
    search.get_by_label("Field").select_option("")
    search.get_by_label("Kind").select_option("new")
    expect(page.get_by_text("No change is like that.")).to_be_visible()

    page.goto(f"{town.url}/#/runs/{town.journal('customerio.people')[-1].id}")
    expect(page.locator(".changes > li").first).to_contain_text("•••")
    assert answers
    assert not any(SECRET in text or "50000" in text for text in answers)


def test_plots_show_runs_and_scores(town: Town, open_page: Open, shoot: Shoot) -> None:
    """Every run has its column, and a field's distribution counts each change once; both are there as tables too."""
    page = open_page("#/syncs/customerio.people")
    runs = town.journal("customerio.people")
    changes = page.locator("figure", has_text="Changes by outcome")
    expect(changes.locator(".column")).to_have_count(NIGHTS + 2)
    expect(changes.get_by_role("img")).to_have_accessible_name(re.compile(f"The last {NIGHTS + 2} runs"))
    changes.locator("summary").click()
    rows = [row.split("\t") for row in changes.locator("tbody").inner_text().splitlines()]
    assert [[one.planned, one.accepted] for one in runs] == [
        [int(cells[3].replace(",", "")), int(cells[4].replace(",", ""))] for cells in rows
    ]
    shoot(page, "sync")

    page.goto(f"{town.url}/#/runs/{runs[0].id}")
    plot = page.locator("figure", has_text="Distribution of score")
    plot.locator("summary").click()
    cells = [row.split("\t") for row in plot.locator("tbody").inner_text().splitlines()]
    assert [CHANGED, CHANGED] == [sum(int(row[side].replace(",", "")) for row in cells) for side in (2, 3)]


def test_the_plan_as_of_now_is_asked_for(town: Town, open_page: Open, shoot: Shoot) -> None:
    """A button reads the source and shows what the next run would send, old → new; nothing is sent."""
    page = open_page("#/syncs/webhook.keyboard")
    sent = town.receiver.count
    town.sql("UPDATE keyboard SET score = 5000.5 WHERE user_id = 'keyboard-8'")
    page.get_by_role("button", name="Look", exact=True).click()
    plan = page.get_by_role("region", name="Plan as of now")
    expect(plan).to_contain_text("1 change in 1 request: 1 changed, 199 unchanged")
    expect(plan.locator(".changes")).to_contain_text("8 → 5,000.5")
    expect(plan.locator("figure")).to_contain_text("Distribution of score")
    town.sql("UPDATE keyboard SET score = 8 WHERE user_id = 'keyboard-8'")

    assert sent == town.receiver.count
    shoot(page, "plan")


def test_a_broken_config_is_said_everywhere(town: Town, open_page: Open) -> None:
    """While the files on disk are broken, every view says so and what was read before goes on; mended, it is gone."""
    file = town.folder / "mappings" / "webhook.toml"
    good = file.read_text()
    page = open_page()
    expect(card(page, "webhook.calm")).to_be_visible()
    file.write_text(good.replace('key = "user_id"', 'kee = "user_id"', 1))
    alert = page.locator("#warning")
    expect(alert).to_contain_text("The edited config is broken; the one before it goes on running.")
    expect(alert).to_contain_text("mappings/webhook.toml")
    for view in ("#/syncs/webhook.calm", f"#/runs/{town.journal('webhook.calm')[0].id}"):
        page.goto(f"{town.url}/{view}")
        expect(alert).to_contain_text("kee")
    file.write_text(good)
    expect(alert).to_be_empty()


def test_what_is_not_there_is_a_sentence(town: Town, open_page: Open) -> None:
    """An address of a sync or run that does not exist says so, and leads back."""
    page = open_page("#/syncs/webhook.lacking", allowed=("404", "400"))
    expect(page.get_by_role("alert").filter(has_text="There is no sync 'webhook.lacking'")).to_be_visible()
    for wrong in ("#/syncs/%E0", "#/runs/none"):
        page.goto(f"{town.url}/{wrong}")
        expect(page.get_by_role("heading", name="Not to be shown")).to_be_visible()
    page.get_by_role("link", name="Back to the overview").click()
    expect(card(page, "webhook.calm")).to_be_visible()


def test_pages_are_live_and_do_not_flicker(town: Town, open_page: Open) -> None:
    """While the page asks again and again, what has not changed is not touched: focus and open details stay."""
    page = open_page("#/syncs/customerio.people")
    page.locator("figure summary").first.click()
    page.evaluate("document.querySelector('[data-do=pause]').focus(); window.seen = document.activeElement")
    page.evaluate(
        """() => {
          window.touched = 0;
          const isTime = (node) => node.closest?.("time") || node.parentElement?.tagName === "TIME";
          const count = (all) => { window.touched += all.filter((one) => !isTime(one.target)).length; };
          const everything = {subtree: true, childList: true, attributes: true, characterData: true};
          new MutationObserver(count).observe(document.querySelector("main"), everything);
        }"""
    )
    asked: list[str] = []
    page.on("response", lambda answer: asked.append(answer.url))
    until(lambda: page.wait_for_timeout(50) or sum(url.endswith("/api/syncs") for url in asked) >= 2, "it asks again")

    assert page.evaluate("window.seen === document.activeElement && window.seen.isConnected")
    assert page.evaluate("document.querySelector('figure details').open")
    assert 0 == page.evaluate("window.touched")
