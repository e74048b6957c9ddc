"""Another instance on the same account: noticed by its orders, which carry our tag and are not ours.

Every intent of ours is durable before its order is sent, so an order with our tag that no journal of
ours knows is another instance's, or our journal was lost. At the start that is a refusal, before
anything is cancelled; later it forbids new entries, and what we hold stays protected. The lease on
the data folder (`store.lease`) keeps two instances out of one folder; this keeps them off one account.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from cryptosignal.domain.events import AccountSnapshotTaken, AlgoUpdated, OrderUpdated
from cryptosignal.domain.order import parse_client_id
from cryptosignal.ground.faults import UserFault
from cryptosignal.trading.state import TradingState

BORN = ("NEW", "PARTIALLY_FILLED")


class TwinWatch:
    """Hears every event of the rim; `on_twin(client_id)` is called once, when one is noticed late."""

    def __init__(self, state: TradingState, data_dir: str, on_twin: Callable[[str], None]) -> None:
        self._state = state
        self._data_dir = data_dir
        self._on_twin = on_twin
        self._snapshots = state.snapshots
        self._is_noticed = False

    def hear(self, _seq: int, _now_ms: int, event: Any) -> None:
        """Look at one event, after it was folded and before anything is done about it.

        Raises UserFault with one line if the first read of the account shows a twin.
        """
        stranger = next((one for one in _new_ids(event) if self._is_strange(one)), "")
        if not stranger:
            return
        is_first = isinstance(event, AccountSnapshotTaken)
        if is_first and self._state.snapshots == self._snapshots + 1:
            raise UserFault(
                f"account: found an open order {stranger} of another instance with the tag"
                f" {self._state.bot!r}, or of a lost journal: stop that one, use its data folder,"
                f" or give this run another run.bot (data folder {self._data_dir})"
            )
        if not self._is_noticed:
            self._is_noticed = True
            self._on_twin(stranger)

    def _is_strange(self, client_id: str) -> bool:
        own = parse_client_id(client_id)
        if own is None or own.bot != self._state.bot:
            return False
        return client_id not in self._state.orders and client_id not in self._state.archive


def _new_ids(event: Any) -> Iterator[str]:
    if isinstance(event, AccountSnapshotTaken):
        yield from (order.client_id for order in event.orders)
        yield from (algo.client_id for algo in event.algos)
    elif isinstance(event, OrderUpdated | AlgoUpdated) and event.status in BORN:
        yield event.client_id
