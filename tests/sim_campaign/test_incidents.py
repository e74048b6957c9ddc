"""Each incident of the trade's history, forced on the whole program under virtual time.

The fault that made it is turned up far beyond a storm; nothing that must hold may break, and the
fault must really have struck. The finer points of each are tested on the desk alone, in
tests/trading/test_incidents.py.
"""

from __future__ import annotations

import msgspec
import pytest

from cryptosignal.domain.events import IntentRecorded
from cryptosignal.domain.order import Leg, OrderKind
from cryptosignal.modes.campaign import JOURNAL_ROOT, Day, DaySettings
from cryptosignal.modes.virtual_net import NetFaults
from cryptosignal.modes.weather import Weather
from cryptosignal.store.runs import money_history

pytestmark = pytest.mark.long

INCIDENTS: tuple[tuple[str, Weather, str], ...] = (
    ("a_lost_answers_to_orders", Weather(NetFaults(response_lost=0.15)), "response_lost"),
    ("b_unknown_then_accepted", Weather(NetFaults(), {"http_1007": 0.15}), "http_1007"),
    ("c_names_do_not_resolve", Weather(NetFaults(refused=0.15)), "refused"),
    ("d_clock_steps", Weather(NetFaults(), {}, frozenset({"clock_step"})), "clock_step"),
    ("e_requests_arrive_late", Weather(NetFaults(), {"http_late": 0.15}), "http_late"),
    ("g_reads_lag", Weather(NetFaults(), {"stale_read": 0.3}), "stale_read"),
    ("h_stops_are_refused", Weather(NetFaults(), {"stop_reject": 0.3}), "stop_reject"),
    ("i_stops_vanish", Weather(NetFaults(), {"stop_vanish": 40.0}), "stop_vanish"),
    ("k_forced_fills_leave_orphans", Weather(NetFaults(), {"forced_fill": 40.0}), "forced_fill"),
    ("l_a_stop_fails_at_trigger", Weather(NetFaults(), {"trigger_reject": 1.0}), ""),
    ("m_listen_key_lost", Weather(NetFaults(), {"listen_key_lost": 20.0}), "listen_key_lost"),
    ("n_a_person_trades_too", Weather(NetFaults(), {"manual_order": 40.0}), "manual_order"),
    ("o_silent_streams", Weather(NetFaults(), {"ws_silent_subscribe": 0.5}), "ws_silent_subscribe"),
    ("p_filters_change", Weather(NetFaults(), {"filter_change": 30.0}), "filter_change"),
    ("q_symbols_halt", Weather(NetFaults(), {"halt": 10.0}), "halt"),
)


@pytest.mark.parametrize(("name", "weather", "fault"), INCIDENTS, ids=[i[0] for i in INCIDENTS])
def test_incident(name: str, weather: Weather, fault: str) -> None:
    """An hour of nothing but this fault, with kills: every monitor stays silent."""
    settings = DaySettings(
        days=0.04, weather=weather, kill_mean_s=900.0, trade_mean_s=90.0, host_mean_s=300.0
    )
    result = Day(7, settings).run()
    assert result.violations == [], name
    assert result.entries > 3
    assert not fault or result.faults[fault] > 0


def test_incident_f_a_restart_owns_by_id() -> None:
    """F and L: killed every two minutes, each start finds its own trades by id, never by time."""
    settings = DaySettings(
        days=0.04, weather=Weather(NetFaults()), kill_mean_s=120.0, trade_mean_s=60.0
    )
    result = Day(8, settings).run()
    assert result.violations == []
    assert result.paths["restart_while_held"] > 0


def test_incident_j_only_market_orders_protect() -> None:
    """J and K: every stop of a day is a reduce-only STOP_MARKET, as the journal shows."""
    day = Day(9, DaySettings(days=0.04, trade_mean_s=60.0))
    assert day.run().violations == []
    stops = [
        record.event.intent
        for record in money_history(day.disk, JOURNAL_ROOT)
        if isinstance(record.event, IntentRecorded) and record.event.intent.leg is Leg.STOP
    ]
    assert stops
    assert all(s.kind is OrderKind.STOP_MARKET and s.reduce_only for s in stops)


def test_weathers_are_plain_data() -> None:
    """The weather of an incident can be written down and read back, so that it can be reported."""
    for _, weather, _ in INCIDENTS:
        text = msgspec.json.encode(weather)
        assert msgspec.json.decode(text, type=Weather) == weather
