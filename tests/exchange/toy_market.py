"""The toy venue's market behind `domain.ports.Market`: rounds, newest first, in ticks and lots."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable
from typing import Any

from tests.exchange.toy_adapter import RETRY_S, Host, Line, _instr, _instrument, _ms, _symbol

from cryptosignal.domain.events import BarClosed, MarketStreamChanged, MarksUpdated
from cryptosignal.domain.instrument import Instrument
from cryptosignal.domain.market import Bar
from cryptosignal.domain.ports import MarketEvent
from cryptosignal.ground.faults import Refused, Unreachable
from cryptosignal.ground.units import INTERVAL_MS


class ToyMarket:
    """`Market` over the toy's line."""

    def __init__(self, host: Host, now_ms: Callable[[], int]) -> None:
        self._host = host
        self._now_ms = now_ms
        self._line: Line | None = None
        self._rules: dict[str, dict[str, Any]] = {}

    async def _ask(self, do: str, **body: Any) -> dict[str, Any]:
        if self._line is None:
            self._line = await self._host.open(lambda _: None, self._hung_up)
        if not self._rules and do != "contracts":
            self._rules = (await self._ask("contracts"))["contracts"]
        answer = json.loads(await self._line.ask(json.dumps({"q": 1, "do": do, **body}).encode()))
        if "oops" in answer:
            raise Refused(0, answer["oops"])
        return answer

    def _hung_up(self) -> None:
        self._line = None

    async def instruments(self) -> tuple[Instrument, ...]:
        rules = (await self._ask("contracts"))["contracts"]
        return tuple(_instrument(name, rule) for name, rule in sorted(rules.items()))

    async def candles(
        self, symbol: str, interval: str, limit: int, end_ms: int = 0
    ) -> tuple[Bar, ...]:
        wide = INTERVAL_MS[interval] // 1000
        body = {"instr": _instr(symbol), "wide": wide, "many": limit + 1, "before": end_ms / 1000}
        answer = await self._ask("past", **body)
        rows = [self._bar(_instr(symbol), row) for row in reversed(answer["past"])]
        closed = [b for b in rows if b.open_ms + INTERVAL_MS[interval] <= _ms(answer["t"])]
        return tuple(closed[-limit:])

    async def follow(
        self,
        symbols: tuple[str, ...],
        intervals: tuple[str, ...],
        on_event: Callable[[MarketEvent], None],
    ) -> None:
        while True:
            ended, wake = asyncio.Event(), asyncio.Event()
            inbox: deque[bytes] = deque()

            def hear(line: bytes, inbox: deque[bytes] = inbox, wake: asyncio.Event = wake) -> None:
                inbox.append(line)
                wake.set()

            def end(ended: asyncio.Event = ended, wake: asyncio.Event = wake) -> None:
                ended.set()
                wake.set()
                self._hung_up()

            try:
                self._line = await self._host.open(hear, end)
                wides = [INTERVAL_MS[interval] // 1000 for interval in intervals]
                await self._ask("hear", instrs=[_instr(s) for s in symbols], wides=wides)
            except Unreachable:
                await asyncio.sleep(RETRY_S)
                continue
            on_event(MarketStreamChanged(is_up=True, reason="the line is open"))
            while not ended.is_set():
                await wake.wait()
                wake.clear()
                while inbox:
                    event = self._event(json.loads(inbox.popleft()))
                    if event is not None:
                        on_event(event)
            on_event(MarketStreamChanged(is_up=False, reason="the line ended"))

    def _event(self, news: dict[str, Any]) -> MarketEvent | None:
        if news["news"] == "fair":
            price = news["ticks"] * self._tick(news["instr"])
            return MarksUpdated(_ms(news["t"]), {_symbol(news["instr"]): price})
        if news["news"] != "round":
            return None
        interval = next(k for k, ms in INTERVAL_MS.items() if ms == news["wide"] * 1000)
        return BarClosed(_symbol(news["instr"]), interval, self._bar(news["instr"], news))

    def _tick(self, instr: str) -> float:
        return float(self._rules[instr]["tick"])

    def _bar(self, instr: str, row: dict[str, Any]) -> Bar:
        first, top, bottom, last = (ticks * self._tick(instr) for ticks in row["ticks"])
        volume = row["lots"] * float(self._rules[instr]["lot"])
        nan = float("nan")  # the toy does not tell who took
        return Bar(
            _ms(row["since"]),
            first,
            top,
            bottom,
            last,
            volume,
            volume * last,
            row["lots"],
            nan,
            nan,
        )
