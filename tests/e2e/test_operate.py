"""People act on a running engine: approvals, closing, the kill switch over restarts, one line a mistake."""

from __future__ import annotations

import re
import shutil
import signal

import pytest
from tests.e2e.loose import asked, loose_config, until
from tests.e2e.programs import is_refusal, run, running

try:
    from playwright.sync_api import expect, sync_playwright
except ImportError:
    sync_playwright = None

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
             "--disable-background-networking", "--disable-component-update"]  # fmt: skip


def approving(folder, *more):
    config = loose_config(folder)
    return running(folder, "run", "--mode", "approve", "--symbols", 6, "-c", config, *more)


def test_a_signal_waits_for_a_yes_and_the_kill_switch_outlives_the_process(tmp_path):
    """In mode approve nothing is opened without a yes; a yes opens with its stop, a second one is
    refused with the reason, `kill 3` closes everything, and after kill -9 the switch still stands."""
    with approving(tmp_path) as engine:
        engine.until("approval.asked")
        first, second = until(tmp_path, "waiting", lambda w: len(w) > 1)[:2]
        assert asked(tmp_path, "desk")["positions"] == []
        listed = run("approve", folder=tmp_path).out
        for words in (first["signal_id"], first["stop"], "when it was asked", "expires in"):
            assert words in listed
        yes = run("approve", first["signal_id"], folder=tmp_path)
        assert (yes.code, yes.out.strip()) == (0, f"{first['signal_id']}: opened")
        again = run("approve", first["signal_id"], folder=tmp_path)
        assert again.code == 1
        assert "it has had its entry" in again.out
        no = run("approve", second["signal_id"], "--no", folder=tmp_path)
        assert (no.code, no.out.strip()) == (0, f"{second['signal_id']}: rejected")
        held = until(tmp_path, "positions", lambda p: bool(p) and p[0]["is_protected"])
        assert [p["symbol"] for p in held] == [first["symbol"]]
        assert held[0]["stop"] == first["stop"]
        thrown = run("kill", 3, folder=tmp_path)
        assert thrown.code == 0, thrown
        until(tmp_path, "positions", lambda p: p == [])
        lower = run("kill", 1, folder=tmp_path)
        is_refusal(lower, "it stands at 3", "--clear")
        engine.send(signal.SIGKILL)
        engine.end()
    (tmp_path / "runs" / "KILL").unlink()  # the journal alone must remember it
    with approving(tmp_path) as engine:
        engine.until("scan 1 ")
        assert asked(tmp_path, "status")["kill"] == 3
        assert run("kill", "--clear", folder=tmp_path).code == 0
        assert asked(tmp_path, "status")["kill"] == 0


@pytest.mark.long
def test_the_switch_works_without_an_engine(tmp_path):
    """Thrown into the folder before a start, it is obeyed before anything is asked for; released there,
    it is released."""
    early = run("kill", 2, folder=tmp_path)
    assert early.code == 0
    assert "no engine answers" in early.out
    with approving(tmp_path) as engine:
        engine.until("kill.set")
        engine.until("scan 1 ")
        assert asked(tmp_path, "status")["kill"] == 2
        assert not any("approval.asked" in line for line in engine.lines)
        engine.send(signal.SIGTERM)
        assert engine.end().code == 0
    assert run("kill", "--clear", folder=tmp_path).code == 0
    with approving(tmp_path) as engine:
        engine.until("scan 1 ")
        assert asked(tmp_path, "status")["kill"] == 0
        until(tmp_path, "kill", lambda kill: kill == 0 and not (tmp_path / "runs/KILL").exists())


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine (apt: chromium)")
@pytest.mark.skipif(sync_playwright is None, reason="playwright is not installed (extra: dev)")
def test_the_page_approves_and_kills_in_a_browser(tmp_path):
    """With a code from the command line a browser opens the desk; a yes and a kill need their typed
    words, and do at the engine what they say."""
    with approving(tmp_path, "--page", "--page-port", 0) as engine, sync_playwright() as playwright:
        url = re.search(r"http://\S+", engine.until("page: "))[0]
        engine.until("approval.asked")
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page, complaints = browser.new_page(), []
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda m: m.type == "error" and complaints.append(m.text))
        page.goto(url + "desk")
        assert page.locator("#approve").count() == 0
        page.get_by_label("code").fill(run("desk-code", folder=tmp_path).out.strip())
        page.get_by_role("button", name="Open").click()
        wanted = page.locator("#state tbody tr td").first.text_content()
        form = page.locator("#approve")
        form.locator("[name=signal_id]").fill(wanted)
        form.get_by_label("confirm approve").fill("yes")
        form.get_by_role("button").click()
        expect(page.locator(".said")).to_contain_text(f"type YES {wanted} to confirm")
        assert asked(tmp_path, "desk")["positions"] == []
        form.locator("[name=signal_id]").fill(wanted)
        form.get_by_label("confirm approve").fill(f"YES {wanted}")
        form.get_by_role("button").click()
        expect(page.locator(".said")).to_have_text(f"{wanted}: opened")
        expect(page.locator("#state")).to_contain_text("held")
        form = page.locator("#kill")
        form.locator("select").select_option("3")
        form.get_by_label("confirm kill").fill("KILL 3")
        form.get_by_role("button").click()
        expect(page.locator(".said")).to_contain_text("kill switch 3")
        expect(page.locator(".facts")).to_have_attribute("data-kill", "3")
        until(tmp_path, "positions", lambda p: p == [])
        assert complaints == []
        browser.close()
