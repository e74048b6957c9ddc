"""What befalls the venue now and then: broken links, halts, new rules, hands on the account.

Each mishap is a method `_do_NAME` that returns whether it found something to befall.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from cryptosignal.ground.seeds import Rng
from cryptosignal.ground.units import HOUR_MS, MINUTE_MS
from cryptosignal.sim.account import Account
from cryptosignal.sim.links import Link
from cryptosignal.sim.listing import Listed, brackets_for
from cryptosignal.sim.orders import Algo

if TYPE_CHECKING:
    from cryptosignal.sim.venue import Venue

FOREVER = 1 << 62
STEP_COARSER = 10


class Mishaps:
    """Performs one mishap at a time; `down_until_ms` is the end of a maintenance."""

    def __init__(self, venue: Venue, rng: Rng, latency_ms: int) -> None:
        self._venue = venue
        self._x = venue.exchange
        self._rng = rng
        self._latency_ms = latency_ms
        self.down_until_ms = 0

    def strike(self, name: str, now_ms: int) -> bool:
        """Let `name` happen; false when there was nothing for it to happen to."""
        act: Any = getattr(self, f"_do_{name}")
        return bool(act(now_ms))

    def _any_link(self) -> Link | None:
        links = self._venue.links()
        return self._rng.choice(links) if links else None

    def _any_account(self) -> Account:
        return self._rng.choice(self._x.desk.accounts)

    def _do_ws_reset(self, _now: int) -> bool:
        link = self._any_link()
        if link is not None:
            self._venue.close(link, 1006)
        return link is not None

    def _do_ws_disconnect(self, _now: int) -> bool:
        link = self._any_link()
        if link is not None:
            self._venue.close(link, 1001)
        return link is not None

    def _do_ws_half_open(self, _now: int) -> bool:
        link = self._any_link()
        if link is not None:
            link.silent_until_ms, link.drops_new = FOREVER, True
        return link is not None

    def _do_ws_stall(self, now: int) -> bool:
        link = self._any_link()
        if link is not None:
            link.silent_until_ms = max(
                link.silent_until_ms, now + self._rng.randrange(20_000, 300_000)
            )
        return link is not None

    def _do_ws_burst(self, now: int) -> bool:
        link = self._any_link()
        if link is not None:
            link.hold_until_ms = now + self._rng.randrange(2_000, 15_000)
            self._x.agenda.at(link.hold_until_ms, lambda _ms, _n: self._release(link))
        return link is not None

    def _release(self, link: Link) -> None:
        held, link.held = link.held, []
        for payload in held:
            self._venue.push(link, payload, self._latency_ms)

    def _do_listen_key_lost(self, now: int) -> bool:
        account = self._any_account()
        if not account.listen_key:
            return False
        self._venue.router.accounts.end_key(account, now, announce=False)
        return True

    def _do_http_429(self, now: int) -> bool:
        """Somebody behind every known address has used the whole minute's weight."""
        limits, excess = self._x.limits, self._x.settings.weight_limit_1m + 1
        for client in limits.clients() or ["local"]:
            limits.visitor(client).weight.add(now, excess)
        return True

    def _do_stop_vanish(self, now: int) -> bool:
        """A resting stop is gone without a word (RELIABILITY §2)."""
        found: list[Algo] = [
            a for acc in self._x.desk.accounts for a in acc.algos.values() if a.is_open
        ]
        if not found:
            return False
        self._x.algos.vanish(self._rng.choice(found), now)
        return True

    def _do_forced_fill(self, _now: int) -> bool:
        account = self._any_account()
        held = [p for p in account.positions.values() if p.qty]
        if not held:
            return False
        position = self._rng.choice(held)
        prefix = self._rng.choice(("autoclose-", "adl_autoclose", "settlement_autoclose-"))
        self._x.desk.margin.force_close(account, position, prefix)
        self._x.touched(position.index)
        return True

    def _do_halt(self, now: int) -> bool:
        index = self._rng.randrange(len(self._x.listed))
        start = (now // MINUTE_MS + 1) * MINUTE_MS
        self._x.halt(index, start, start + self._rng.randrange(2, 20) * MINUTE_MS)
        return True

    def _do_delist(self, now: int) -> bool:
        """A symbol that nobody holds is announced to settle within hours (BINANCE §2.4)."""
        held = {i for a in self._x.desk.accounts for i in self._x.desk.active_indices(a)}
        free = [r for r in self._x.listed[2:] if not r.delist_notice_ms and r.index not in held]
        if not free:
            return False
        end = (now // HOUR_MS + self._rng.randrange(2, 6)) * HOUR_MS
        self._x.delist(self._rng.choice(free).index, end)
        return True

    def _do_filter_change(self, now: int) -> bool:
        index = self._rng.randrange(len(self._x.listed))
        row = self._x.listed[index]
        kind = self._rng.randrange(4)
        if kind == 0:
            row = msgspec.structs.replace(row, min_notional=max(5, row.min_notional * 2 % 160))
        elif kind == 1:
            row = msgspec.structs.replace(
                row, brackets=brackets_for(self._rng.choice((50, 75, 125)))
            )
        elif kind == 2:
            unit = STEP_COARSER if row.tick_units(now) == 1 else 1
            self._x.change_tick(index, (now // MINUTE_MS + 1) * MINUTE_MS, unit)
            return True
        elif any(index in self._x.desk.active_indices(a) for a in self._x.desk.accounts):
            return False  # what is held could not be closed on a coarser step
        else:
            row = self._with_other_step(row)
        self._x.replace_listed(row)
        return True

    def _with_other_step(self, row: Listed) -> Listed:
        """Ten times the quantity step, or back; not where that is more than the smallest order."""
        least = row.min_notional / row.anchor_price * 10**row.qty_digits
        can_be_coarser = row.step_units == 1 and least >= STEP_COARSER
        step = STEP_COARSER if can_be_coarser else 1
        return msgspec.structs.replace(row, step_units=step)

    def _do_maintenance(self, now: int) -> bool:
        self.down_until_ms = now + self._rng.randrange(60_000, 600_000)
        for link in self._venue.links():
            self._venue.close(link, 1001)
        return True

    def _do_manual_order(self, now: int) -> bool:
        """The owner trades by hand on the same account, and undoes it some minutes later."""
        account = self._any_account()
        index = self._rng.randrange(min(6, len(self._x.listed)))
        side = self._rng.choice(("BUY", "SELL"))
        if account.is_hedge or not self._by_hand(account, index, side):
            return False
        back = "SELL" if side == "BUY" else "BUY"
        wait = self._rng.randrange(30_000, 900_000)
        self._x.agenda.at(now + wait, lambda _ms, _n: self._undo(account, index, back))
        return True

    def _undo(self, account: Account, index: int, side: str) -> None:
        self._x.desk.now_ms = self._x.now_ms
        self._by_hand(account, index, side)

    def _by_hand(self, account: Account, index: int, side: str) -> bool:
        return self._venue.router.orders.place_by_hand(account, index, side)

    def _do_mode_flip(self, now: int) -> bool:
        """Margin mode of a free symbol, or the position mode of a flat account, is switched."""
        account = self._any_account()
        is_flat = not account.open_orders and not any(p.qty for p in account.positions.values())
        if (
            is_flat
            and self._rng.random() < 0.5
            and not any(a.is_open for a in account.algos.values())
        ):
            account.is_hedge = not account.is_hedge
            wait = self._rng.randrange(30_000, 600_000)
            self._x.agenda.at(now + wait, lambda _ms, _n: self._flip_back(account))
            return True
        index = self._rng.randrange(len(self._x.listed))
        if any(p.qty and p.index == index for p in account.positions.values()):
            return False
        mode = account.isolated_mode
        (mode.discard if index in mode else mode.add)(index)
        return True

    def _flip_back(self, account: Account) -> None:
        if not account.open_orders and not any(p.qty for p in account.positions.values()):
            account.is_hedge = False
