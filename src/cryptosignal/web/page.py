"""The page: the market on the left, one symbol on the right, health below; one browser tab per `_Tab`.

Each tab is told once a second what has changed. What a person chooses (symbol, interval, filter)
lives in the tab; what the engine said lives in the mirror. Nothing here can change the engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Final

from nicegui import events, ui

from cryptosignal.ground.calendar import utc_text
from cryptosignal.ground.clock import host_epoch_ms, host_mono_ns
from cryptosignal.ground.faults import Fault
from cryptosignal.modes.snapshots import SnapshotClient
from cryptosignal.web import charts, table, words
from cryptosignal.web.mirror import Freshness, Mirror
from cryptosignal.web.settings import INTERVALS

STATE_WORDS: Final = {
    Freshness.FRESH: "live",
    Freshness.LATE: "late",
    Freshness.SILENT: "not answering",
    Freshness.WARMING: "warming up",
    Freshness.WAITING: "waiting",
}
_CHOICES: Final = ("all", "prime", "watch", "long", "short")
_VIEWS_MAX: Final = 64


def asset(name: str) -> str:
    """The text of a file that ships beside this module."""
    return (resources.files("cryptosignal.web") / "assets" / name).read_text(encoding="utf-8")


@dataclass(slots=True)
class View:
    """What the engine last showed for one symbol and interval, or why it did not."""

    body: dict[str, Any]
    asked_ns: int
    reason: str = ""


class Views:
    """Answers about symbols, shared by all tabs: asked again only when old."""

    def __init__(self, client: SnapshotClient, fresh_s: float) -> None:
        self._client = client
        self._fresh_s = fresh_s
        self._views: dict[tuple[str, str], View] = {}
        self._lock = asyncio.Lock()

    async def get(self, symbol: str, interval: str) -> View:
        """The newest view; a failed question keeps the former body and says why."""
        async with self._lock:
            known = self._views.get((symbol, interval))
            now_ns = host_mono_ns()
            if known is not None and (now_ns - known.asked_ns) * 1e-9 < self._fresh_s:
                return known
            try:
                body, reason = await self._client.ask_symbol(symbol, interval), ""
            except Fault as fault:
                body, reason = known.body if known else {}, str(fault)
            view = View(body, now_ns, reason)
            self._views.pop((symbol, interval), None)
            self._views[symbol, interval] = view
            while len(self._views) > _VIEWS_MAX:
                del self._views[next(iter(self._views))]
            return view


@dataclass(slots=True)
class House:
    """What all tabs share."""

    client: SnapshotClient
    mirror: Mirror
    views: Views


class _Html:
    """An HTML element that is sent only when its content has changed."""

    def __init__(self, classes: str = "") -> None:
        self._element = ui.html("").classes(classes)

    def set_visible(self, value: bool) -> None:
        self._element.set_visibility(value)

    def show(self, content: str) -> None:
        if content != self._element.content:
            self._element.set_content(content)


@dataclass(slots=True)
class _Choice:
    """What a person has chosen in one tab."""

    symbol: str = ""
    interval: str = "1h"
    tier: str = "all"
    side_tab: str = "gates"
    health_tab: str = "health"


@dataclass(slots=True)
class _Shown:
    """What one tab has on screen already."""

    version: int = 0
    symbols: set[str] = field(default_factory=set)
    is_grid_ready: bool = False
    chart_of: tuple[str, str] | None = None
    buttons: dict[str, list[tuple[str, ui.element]]] = field(default_factory=dict)


class Tab:
    """One browser tab: builds its elements once, then keeps them up to date."""

    def __init__(self, house: House, symbol: str, interval: str) -> None:
        self._house = house
        self._choice = _Choice(symbol=symbol.upper()[:40])
        if interval in INTERVALS:
            self._choice.interval = interval
        self._shown = _Shown()
        ui.add_css(asset("page.css"))
        ui.add_head_html(f"<script>{asset('page.js')}</script>")
        with ui.element("div").classes("cs-root") as self._root:
            self._build_head()
            self._build_table()
            self._build_panel()
            self._build_health()
        ui.on("cs-select", self._select)
        ui.on("cs-open", self._open)
        ui.timer(house.mirror.settings.refresh_s, self._refresh)
        ui.timer(house.mirror.settings.refresh_s, self._refresh_symbol)  # may wait for an answer

    # -- what is where ------------------------------------------------------------------------

    def _build_head(self) -> None:
        with ui.element("header").classes("cs-head cs-card"):
            ui.html("Crypto<b>Signal</b>").classes("cs-brand")
            self._run = _Html("cs-run cs-data")
            ui.link("desk", "/desk").classes("cs-desk")
            self._state = ui.label("").classes("cs-state")
            self._clock = ui.label("").classes("cs-clock").props("id=cs-clock")
        with ui.element("div").classes("cs-banners"):
            ui.element("div").props("id=cs-dead-banner role=alert")
            self._banner = ui.label("").classes("cs-banner").props("role=status")
            self._banner.set_visibility(False)

    def _build_table(self) -> None:
        with ui.element("section").classes("cs-card cs-table cs-data cs-data-market"):
            with ui.element("div").classes("cs-tools"):
                box = ui.input(placeholder="Filter: symbol, side, tier, reason   ( / )")
                box.props("dense borderless clearable debounce=120 aria-label=Filter")
                box.classes("cs-filter").on_value_change(self._filter)
                box.on("keydown.escape", lambda: box.set_value(""))
                self._buttons("tier", _CHOICES, self._choose_tier)
                ui.element("span").props("id=cs-shown")
            settings = self._house.mirror.settings
            options = table.grid_options(settings.row_late_s)
            self._grid = ui.aggrid(options, theme="balham", auto_size_columns=False)
            self._grid.classes("cs-grid")
            self._grid.on("gridReady", self._start_grid, args=[])

    # deep-ok: the nesting is the page's own: elements inside elements
    def _build_panel(self) -> None:
        with ui.element("section").classes("cs-card cs-panel cs-data"):
            with ui.element("div").classes("cs-title"):
                self._headline = _Html("cs-headline")
                self._buttons("interval", INTERVALS, self._choose_interval)
            with ui.element("div").classes("cs-plan"):
                self._plan = _Html("cs-planline")
                self._as_of = ui.label("").classes("cs-asof")
            self._findings = _Html("cs-findings")
            with ui.element("div").classes("cs-chartbox"):
                self._chart = ui.echart(charts.candle_options({}, [], 1)).classes("cs-chart")
                self._refusal = ui.label("").classes("cs-refusal")
            with ui.element("div").classes("cs-below"):
                self._factors = _Html("cs-pane")
                with ui.element("div").classes("cs-side"):
                    with ui.element("div").classes("cs-tabs"):
                        self._buttons("side_tab", ("gates", "in words"), self._choose_side_tab)
                    self._gates = _Html("cs-pane")
                    self._explain = _Html("cs-pane")
                    self._explain.set_visible(value=False)

    def _build_health(self) -> None:
        with ui.element("section").classes("cs-card cs-health cs-data"):
            with ui.element("div").classes("cs-side"):
                with ui.element("div").classes("cs-tabs"):
                    self._buttons("health_tab", ("health", "signals"), self._choose_health_tab)
                self._links = _Html("cs-pane")
                self._signals = _Html("cs-pane")
                self._signals.set_visible(value=False)
            with ui.element("div").classes("cs-gauges"):
                self._weight = _Html()
                self._quality = _Html()

    def _buttons(self, name: str, labels: tuple[str, ...], choose: Callable[[str], Any]) -> None:
        """A row of buttons of which one is on."""
        made: list[tuple[str, ui.element]] = []
        with ui.element("div").classes("cs-choice").props(f"role=group aria-label={name}"):
            for label in labels:
                button = ui.element("button").props("type=button")
                button.on("click", lambda _, label=label: choose(label), args=[])
                with button:
                    ui.html(label, tag="span")
                made.append((label, button))
        self._shown.buttons[name] = made
        self._light(name)

    def _light(self, name: str) -> None:
        chosen = getattr(self._choice, name)
        for label, button in self._shown.buttons[name]:
            button.classes(add="cs-on" if label == chosen else "", remove="cs-on")

    # -- what a person does -------------------------------------------------------------------

    def _filter(self, event: events.ValueChangeEventArguments[Any]) -> None:
        self._grid.run_grid_method("setGridOption", "quickFilterText", event.value or "")

    def _choose_tier(self, label: str) -> None:
        self._choice.tier = label
        self._light("tier")
        self._grid.run_grid_method("setFilterModel", table.tier_filter(label))

    async def _select(self, event: events.GenericEventArguments) -> None:
        symbol = str(event.args)
        if symbol in self._house.mirror.rows and symbol != self._choice.symbol:
            self._choice.symbol = symbol
            await self._refresh_symbol()

    async def _open(self, event: events.GenericEventArguments) -> None:
        if str(event.args) in self._house.mirror.rows:
            self._mark_row(str(event.args))
        await self._select(event)

    def _mark_row(self, symbol: str) -> None:
        is_selected = clears_others = True
        self._grid.run_row_method(symbol, "setSelected", is_selected, clears_others)

    async def _choose_interval(self, label: str) -> None:
        self._choice.interval = label
        self._light("interval")
        await self._refresh_symbol()

    def _choose_side_tab(self, label: str) -> None:
        self._choice.side_tab = label
        self._light("side_tab")
        self._gates.set_visible(label == "gates")
        self._explain.set_visible(label != "gates")

    def _choose_health_tab(self, label: str) -> None:
        self._choice.health_tab = label
        self._light("health_tab")
        self._links.set_visible(label == "health")
        self._signals.set_visible(label != "health")

    # -- what the engine said -----------------------------------------------------------------

    def _refresh(self) -> None:
        self._refresh_state()
        self._choice.symbol = self._choice.symbol or self._house.mirror.strongest()
        self._refresh_rows()
        self._refresh_health()

    def _refresh_state(self) -> None:
        mirror = self._house.mirror
        state, line = mirror.judge(self._house.client)
        self._clock.set_text(utc_text(host_epoch_ms()) + " UTC")
        self._state.set_text(STATE_WORDS[state])
        self._banner.set_text(line)
        self._banner.set_visibility(bool(line))
        for name in Freshness:
            is_it = name is state
            for element, prefix in (
                (self._state, "cs-state"),
                (self._banner, "cs-banner"),
                (self._root, "cs-is"),
            ):
                look = f"{prefix}-{name}"
                element.classes(add=look if is_it else "", remove="" if is_it else look)

    def _start_grid(self) -> None:
        self._shown.is_grid_ready, self._shown.version, self._shown.symbols = True, 0, set()
        self._choice.symbol = self._choice.symbol or self._house.mirror.strongest()
        self._refresh_rows()
        self._choose_tier(self._choice.tier)

    def _refresh_rows(self) -> None:
        if not self._shown.is_grid_ready:
            return
        mirror, shown = self._house.mirror, self._shown
        changes = mirror.changes(shown.version, shown.symbols)
        shown.version, shown.symbols = changes.version, set(mirror.rows)
        if changes:
            transaction = {"add": changes.add, "update": changes.update, "remove": changes.remove}
            self._grid.run_grid_method("applyTransaction", transaction)
        if self._choice.symbol in {row["symbol"] for row in changes.add}:
            self._mark_row(self._choice.symbol)

    def _refresh_health(self) -> None:
        mirror = self._house.mirror
        health = mirror.body("health")
        self._run.show(words.run_facts(mirror.body("run"), health))
        self._links.show(words.connections(health))
        self._weight.show(words.weight(health))
        self._quality.show(words.quality(health, mirror.settings.quality_floor))
        signals = mirror.body("signals").get("signals") or []
        self._signals.show(words.signal_list(signals, mirror.settings.signals_shown))

    async def _refresh_symbol(self) -> None:
        choice, rows = self._choice, self._house.mirror.rows
        if not choice.symbol or not rows:
            return
        if choice.symbol not in rows:
            self._show_symbol(View({}, 0, f"{choice.symbol} is not in the market table"))
            return
        asked = (choice.symbol, choice.interval)
        view = await self._house.views.get(*asked)
        if asked == (choice.symbol, choice.interval):
            self._show_symbol(view)

    def _show_symbol(self, view: View) -> None:
        choice, body = self._choice, view.body
        decision = body.get("decision")
        names = body.get("words") or {}
        self._headline.show(words.headline(choice.symbol, decision))
        self._plan.show(words.plan_line(decision))
        self._findings.show(words.finding_list(decision))
        seen_ms = (decision or {}).get("time_ms")
        self._as_of.set_text(f"decided {utc_text(seen_ms)} UTC" if seen_ms else "")
        self._factors.show(words.factor_bars(decision, names.get("factors") or {}))
        self._gates.show(words.gate_table(decision, names.get("gates") or {}))
        self._explain.show(words.explanation(body.get("explain") or []))
        self._refusal.set_text("" if body.get("candles") else view.reason or "no candles yet")
        self._draw(body)

    def _draw(self, body: dict[str, Any]) -> None:
        """A new chart for a new symbol, new data only for the same: a zoom is kept."""
        key = (self._choice.symbol, self._choice.interval)
        signals = self._signals_of(self._choice.symbol, body)
        if self._shown.chart_of == key:
            self._chart.run_chart_method("setOption", charts.candle_data(body, signals))
            return
        settings = self._house.mirror.settings
        self._chart.options.clear()
        self._chart.options.update(charts.candle_options(body, signals, settings.candles_shown))
        self._chart.update()
        self._shown.chart_of = key if body.get("candles") else None

    def _signals_of(self, symbol: str, body: dict[str, Any]) -> list[dict[str, Any]]:
        listed = self._house.mirror.body("signals").get("signals") or []
        own = [signal for signal in listed if signal.get("symbol") == symbol]
        return [*(body.get("signals") or []), *own]
