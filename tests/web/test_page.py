"""The page in a real browser with 550 symbols: what a person sees, and what must look old."""

from __future__ import annotations

import contextlib
import shutil
import sys
from urllib.parse import urlsplit

import pytest
from tests.web.houses import EngineThread, PageProcess

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
try:
    from playwright.sync_api import expect, sync_playwright
except ImportError:
    sync_playwright = None

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine (apt: chromium)"),
    pytest.mark.skipif(sync_playwright is None, reason="playwright is not installed (extra: dev)"),
]

ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
RSS_MB_MAX = 200
WAIT_MS = 20_000


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("engine") / "s.sock")
    with contextlib.closing(EngineThread(path)) as engine:
        engine.start()
        yield engine


@pytest.fixture(scope="module")
def process(engine):
    with contextlib.closing(PageProcess(engine.path, "--port", "0")) as process:
        yield process


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


class Visit:
    """A tab with everything it asked for and complained about."""

    def __init__(self, browser, url):
        self.page = browser.new_page(viewport={"width": 1680, "height": 1000})
        self.page.set_default_timeout(WAIT_MS)
        self.hosts, self.complaints = set(), []
        self.page.on("request", lambda request: self.hosts.add(urlsplit(request.url).hostname))
        self.page.on("websocket", lambda ws: self.hosts.add(urlsplit(ws.url).hostname))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        self.page.on("console", self.hear)
        self.page.goto(url)
        self.page.wait_for_selector('.ag-row[row-index="5"]')

    def hear(self, message):
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    def column(self, name, count=12):
        """What the first rows show in one column, in the order of the screen."""
        cells = [
            self.page.locator(f'.ag-row[row-index="{i}"] [col-id="{name}"]').first
            for i in range(count)
        ]
        return [cell.text_content() for cell in cells]

    def shown(self, text):
        expect(self.page.locator("#cs-shown")).to_have_text(text, timeout=WAIT_MS)


@pytest.fixture
def visit(browser, process):
    visit = Visit(browser, process.url)
    yield visit
    visit.page.close()


def test_the_whole_market_is_there(visit, process):
    """All 550 symbols arrive, the strongest one is open, nothing foreign is asked for, nothing
    breaks the page's own policy, and the process stays small."""
    visit.shown("550 symbols")
    expect(visit.page.locator(".cs-symbol")).to_have_text("COIN043USDT")
    expect(visit.page.locator(".cs-state")).to_have_text("live")
    assert visit.hosts == {"127.0.0.1"}
    assert visit.complaints == []
    sys.stdout.write(f"\npage process: {process.rss_mb():.0f} MB RSS\n")
    assert process.rss_mb() <= RSS_MB_MAX


def test_sorting_by_score(visit):
    """A click on the head sorts all symbols downwards, a second one upwards, no data last."""
    head = visit.page.locator('.ag-header-cell[col-id="score"]')
    head.click()
    expect(head).to_have_attribute("aria-sort", "descending")
    scores = [float(text) for text in visit.column("score")]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 60
    head.click()
    expect(head).to_have_attribute("aria-sort", "ascending")
    scores = [float(text) for text in visit.column("score")]
    assert scores == sorted(scores)
    assert scores[0] < -60


def test_no_quality_sorts_last_both_ways(visit):
    """Symbols without a figure stand at the end of the table, whichever way it is sorted."""
    head = visit.page.locator('.ag-header-cell[col-id="quality"]')
    for direction in ("descending", "ascending"):
        head.click()
        expect(head).to_have_attribute("aria-sort", direction)
        values = visit.page.evaluate(
            """() => { const values = [];
            getElement(document.querySelector(".cs-grid")).api
                .forEachNodeAfterFilterAndSort((node) => values.push(node.data.quality));
            return values; }"""
        )
        assert [value is None for value in values] == [False] * 545 + [True] * 5
        figures = values[:545]
        assert figures == sorted(figures, reverse=direction == "descending")


def test_the_filter_finds_by_keyboard(visit):
    """A slash opens the filter, typing narrows the table, an arrow goes into it, escape ends it."""
    visit.page.keyboard.press("/")
    visit.page.keyboard.type("doge")
    visit.shown("1 of 550 symbols")
    visit.page.keyboard.press("ArrowDown")
    expect(visit.page.locator(".cs-symbol")).to_have_text("DOGEUSDT")
    visit.page.keyboard.press("/")
    visit.page.keyboard.press("Escape")
    visit.shown("550 symbols")


def test_tiers_are_one_click(visit):
    """The buttons narrow the table to a tier or a side and back."""
    visit.page.get_by_role("button", name="prime", exact=True).click()
    visit.shown("3 of 550 symbols")
    assert set(visit.column("tier", 3)) == {"prime"}
    visit.page.get_by_role("button", name="all", exact=True).click()
    visit.shown("550 symbols")


def test_a_click_opens_a_symbol(visit):
    """Candles are painted, the plan, the factors and the gates are in words, and the explanation
    is the engine's own text, never a page."""
    visit.page.keyboard.press("/")
    visit.page.keyboard.type("ethusdt")
    visit.shown("1 of 550 symbols")
    visit.page.locator('.ag-row[row-index="0"] [col-id="price"]').click()
    expect(visit.page.locator(".cs-symbol")).to_have_text("ETHUSDT")
    visit.page.wait_for_function(
        """() => {
            const canvas = document.querySelector(".cs-chart canvas");
            const { width, height } = canvas;
            const dots = canvas.getContext("2d").getImageData(0, 0, width, height).data;
            const colors = new Set();
            for (let i = 0; i < dots.length; i += 4)
                if (dots[i + 3] > 200) colors.add((dots[i] << 16) | (dots[i + 1] << 8) | dots[i + 2]);
            return colors.has(0x26a69a) && colors.has(0xef5350) && colors.has(0xff6b6b);
        }"""
    )
    gates = visit.page.locator(".cs-gates")
    expect(gates).to_contain_text("price impact of the probe size")
    expect(gates).to_contain_text("warming: no book yet")
    expect(visit.page.locator(".cs-planline")).to_contain_text("TP2")
    factors = visit.page.locator(".cs-factors")
    expect(factors).to_contain_text("taker flow (CVD)")
    expect(factors).to_contain_text("no data")
    visit.page.get_by_role("button", name="in words").click()
    expect(visit.page.locator(".cs-explain")).to_contain_text("Stopped by: price impact")
    expect(visit.page.locator(".cs-explain")).to_contain_text("<script>alert(")
    assert visit.complaints == []


def test_another_interval_is_one_click(visit):
    """The chart follows the chosen interval."""
    button = visit.page.get_by_role("button", name="4h", exact=True)
    button.click()
    expect(button).to_have_class("cs-on")
    visit.page.wait_for_function(
        """() => getElement(document.querySelector(".cs-chart"))
            .chart.getOption().xAxis[0].data[0].endsWith(":00")"""
    )
    step = """() => { const names = getElement(document.querySelector(".cs-chart")).chart
        .getOption().xAxis[0].data; return Date.parse(names[1]) - Date.parse(names[0]); }"""
    visit.page.wait_for_function(f"() => ({step})() === 4 * 3600 * 1000")


def test_a_link_opens_its_symbol(visit, process):
    """The address names symbol and interval."""
    visit.page.goto(process.url + "?symbol=solusdt&interval=15m")
    expect(visit.page.locator(".cs-symbol")).to_have_text("SOLUSDT")
    expect(visit.page.get_by_role("button", name="15m")).to_have_class("cs-on")


def test_a_link_to_nothing_says_so(visit, process):
    """A symbol that the market does not have is named as such and never asked for."""
    visit.page.goto(process.url + "?symbol=<b>nope")
    expect(visit.page.locator(".cs-refusal")).to_have_text("<B>NOPE is not in the market table")
    expect(visit.page.locator(".cs-symbol")).to_have_text("<B>NOPE")


def test_a_signal_is_a_way_to_its_symbol(visit):
    """A click in the list of signals opens that symbol and marks its row."""
    visit.page.get_by_role("button", name="signals").click()
    visit.page.locator('.cs-signals tr[data-symbol="TRXUSDT"]').click()
    expect(visit.page.locator(".cs-symbol")).to_have_text("TRXUSDT")
    expect(visit.page.locator(".ag-row-selected").first).to_contain_text("TRXUSDT")


def test_health_is_shown_in_words(visit):
    """Connections with their states, the weight by lane and the spread of quality are there."""
    links = visit.page.locator(".cs-links")
    expect(links).to_contain_text("subscribed")
    expect(links).to_contain_text("reconnecting")
    gauges = visit.page.locator(".cs-gauges")
    expect(gauges).to_contain_text("1,124 of 2,400")
    expect(gauges).to_contain_text("reconcile")
    expect(gauges).to_contain_text("median quality")


def test_rows_move_in_place(visit, engine):
    """Prices change without the table being built anew: choice, filter and row elements stay."""
    visit.page.keyboard.press("/")
    visit.page.keyboard.type("usdt")
    row = visit.page.locator('.ag-row[row-id="COIN043USDT"]').first
    row.evaluate("row => { row.isTheSame = true; }")
    price = visit.page.locator('.ag-row[row-id="COIN043USDT"] [col-id="price"]')
    before = price.text_content()
    expect(price).not_to_have_text(before, timeout=WAIT_MS)
    assert row.evaluate("row => row.isTheSame === true")
    expect(visit.page.locator(".ag-row-selected").first).to_contain_text("COIN043USDT")


def test_a_zoom_survives_updates(visit):
    """New candles do not throw the reader back to the whole picture."""
    zoom = "getElement(document.querySelector('.cs-chart')).chart"
    visit.page.wait_for_function(f"() => {zoom}.getOption().series[0].data.length === 300")
    visit.page.evaluate(f"{zoom}.dispatchAction({{type: 'dataZoom', start: 10, end: 20}})")
    visit.page.evaluate(f"{zoom}.setOption({{series: [{{data: []}}]}})")
    visit.page.wait_for_function(f"() => {zoom}.getOption().series[0].data.length === 300")
    assert visit.page.evaluate(f"{zoom}.getOption().dataZoom[0].start") == 10


def test_an_old_market_looks_old(visit, engine):
    """An engine that lives without scanning is called late, in amber."""
    engine.is_moving = False
    banner = visit.page.locator(".cs-banner-late")
    expect(banner).to_contain_text("market snapshot is", timeout=WAIT_MS)
    engine.is_moving = True
    expect(visit.page.locator(".cs-state")).to_have_text("live", timeout=WAIT_MS)
    expect(banner).to_have_count(0)


def test_a_silent_engine_looks_silent(visit, engine):
    """When the engine is gone everything fades and the page counts the seconds; when it is back,
    all is as before without a reload."""
    engine.stop()
    banner = visit.page.locator(".cs-banner-silent")
    expect(banner).to_contain_text("The engine is not answering since", timeout=WAIT_MS)
    first = banner.text_content()
    expect(banner).not_to_have_text(first, timeout=WAIT_MS)
    filter_of = "element => getComputedStyle(element).filter"
    visit.page.wait_for_function(
        "() => getComputedStyle(document.querySelector('.cs-table')).filter === 'grayscale(1)'"
    )
    assert visit.page.locator(".cs-panel").evaluate(filter_of) == "grayscale(1)"
    engine.start()
    expect(visit.page.locator(".cs-state")).to_have_text("live", timeout=WAIT_MS)
    expect(banner).to_have_count(0)
    assert visit.complaints == []


def test_a_page_without_its_process_looks_dead(browser, engine, visit):
    """When a page's process is killed its tab says so by itself; the engine and another page's
    process go on as if nothing had been."""
    with contextlib.closing(PageProcess(engine.path, "--port", "0")) as doomed:
        orphan = Visit(browser, doomed.url)
        doomed.kill()
        expect(orphan.page.locator("#cs-dead-banner")).to_contain_text(
            "This page has lost its process since", timeout=WAIT_MS
        )
        orphan.page.wait_for_function(
            "() => getComputedStyle(document.querySelector('.cs-table')).filter === 'grayscale(1)'"
        )
        orphan.page.close()
    expect(visit.page.locator(".cs-state")).to_have_text("live")
    expect(visit.page.locator(".cs-banner")).not_to_be_visible()


def test_many_tabs_cost_little(browser, process):
    """Several tabs at once are all served, and the process stays within its memory."""
    visits = [Visit(browser, process.url) for _ in range(3)]
    for visit in visits:
        visit.shown("550 symbols")
    sys.stdout.write(f"\npage process with 3 more tabs: {process.rss_mb():.0f} MB RSS\n")
    assert process.rss_mb() <= RSS_MB_MAX
    for visit in visits:
        visit.page.close()
