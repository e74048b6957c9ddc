"""The session: bytes and times in, actions out."""

from __future__ import annotations

import json
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptosignal.ground.seeds import Seeds
from cryptosignal.streams import session as s
from cryptosignal.streams.backoff import ExponentialBackoff
from cryptosignal.streams.settings import FeedSettings
from cryptosignal.streams.states import TRANSITIONS, ConnectionState, Trigger, moved

SECOND = 1_000_000_000
CANARY = "btcusdt@markPrice@1s"


def make(streams=(CANARY, "ethusdt@kline_1m"), **numbers):
    settings = FeedSettings(**numbers)
    backoff = ExponentialBackoff(
        settings.base_delay, settings.max_delay, settings.jitter, Seeds(1).stream("b")
    )
    return s.Session(
        1, lambda head: "ws://venue?streams=" + "/".join(head), streams, settings, backoff
    )


def of(actions, kind):
    return [action for action in actions if isinstance(action, kind)]


def opened(now=0, **numbers):
    made = make(**numbers)
    made.step(now, s.Start())
    made.step(now, s.Opened())
    return made


def test_seven_states_have_their_numbers():
    """The states are the seven, DISCONNECTED 0 to FAILED 6."""
    assert [(state.name, int(state)) for state in ConnectionState] == [
        ("DISCONNECTED", 0), ("CONNECTING", 1), ("CONNECTED", 2), ("SUBSCRIBED", 3), ("LOST", 4),
        ("RECONNECTING", 5), ("FAILED", 6),
    ]  # fmt: skip


@pytest.mark.parametrize(("state", "trigger"), list(product(ConnectionState, Trigger)))
def test_every_pair_of_state_and_trigger(state, trigger):
    """A listed pair moves as the table says, any other leaves the state; a stop ends every state."""
    after = moved(state, trigger)
    assert after is TRANSITIONS.get((state, trigger), state)
    if trigger is Trigger.STOP:
        assert after is ConnectionState.DISCONNECTED


def test_every_state_is_reached():
    """No state of the table is dead."""
    assert set(TRANSITIONS.values()) == set(ConnectionState)


def test_streams_go_by_url_and_the_rest_by_subscribe():
    """The URL carries the first streams; the others follow in batches with ids, under the rate."""
    names = [CANARY] + [f"c{n}usdt@kline_1m" for n in range(300)]
    made = make(names, url_streams=50, subscribe_batch=20)
    (connect,) = of(made.step(0, s.Start()), s.Connect)
    assert connect.url.count("/") - 2 == 49
    sends = of(made.step(0, s.Opened()), s.Send)
    assert len(sends) == 5
    now = 0
    while len(sends) < 13:
        now += SECOND
        more = of(made.step(now, s.Due()), s.Send)
        assert len(more) <= 5
        sends += more
    asked = [stream for send in sends for stream in json.loads(send.payload)["params"]]
    assert asked == names[50:]
    assert made.state is ConnectionState.CONNECTED
    for send in sends:
        made.step(now, s.Replied(json.loads(send.payload)["id"]))
    assert made.state is ConnectionState.SUBSCRIBED


def test_refused_and_unanswered_subscriptions_are_sent_again_then_cost_the_connection():
    """No acknowledgement in time, or an error: tried three times."""
    made = opened(streams=(CANARY, "a@kline_1m"), url_streams=1, ack_timeout=1.0)
    sent, now = 1, 0
    for _ in range(40):
        now += SECOND
        made.step(now, s.Received(1, now, (CANARY,)))
        actions = made.step(now, s.Due())
        sent += len(of(actions, s.Send))
        if made.state is ConnectionState.LOST:
            break
    assert sent == 3
    assert "no acknowledgement" in made.reasons


def test_handshakes_acks_and_pongs_are_not_health():
    """Only data resets the back-off."""
    made = opened()
    assert not made.is_healthy
    made.step(SECOND, s.Ponged())
    made.step(6 * SECOND, s.Replied(1))
    assert not made.is_healthy
    made.step(6 * SECOND, s.Received(3, 6 * SECOND))
    assert not made.is_healthy  # the canary has not spoken
    actions = made.step(7 * SECOND, s.Received(3, 7 * SECOND, (CANARY,)))
    assert made.is_healthy
    assert [action.kind for action in of(actions, s.Emit)] == ["healthy"]


def test_the_first_retry_waits_a_second_and_the_waits_double_to_a_minute():
    """1 s·2ⁿ up to 60 s, within the jitter; FAILED after max_retries, attempts go on."""
    made = make(max_retries=4)
    now = 0
    made.step(now, s.Start())
    waits, states = [], []
    for _ in range(9):
        actions = made.step(now, s.Closed(0, "refused"))
        wake = of(actions, s.WakeAt)[-1].at_ns
        waits.append((wake - now) / SECOND)
        states.append(made.state)
        now = wake
        assert of(made.step(now, s.Due()), s.Connect)
    for index, wait in enumerate(waits):
        ideal = min(60, 2**index)
        assert 0.9 * ideal <= wait <= min(60.0, 1.1 * ideal)
    assert states[2] is ConnectionState.LOST
    assert states[3] is ConnectionState.FAILED
    made.step(now, s.Opened())
    assert made.state in (ConnectionState.CONNECTED, ConnectionState.SUBSCRIBED)


@pytest.mark.parametrize(
    ("reason", "feed"),
    [
        ("ping timeout", lambda now: [s.Received(1, now, (CANARY,))]),
        ("acknowledged but silent", lambda now: [s.Ponged()]),
        ("acknowledged but silent", lambda now: [s.Ponged(), s.Received(1, now, ())]),
    ],
)
def test_ways_of_going_silent(reason, feed):
    """Half-open, acknowledged but silent: each is noticed by its own deadline."""
    made = opened()
    now = 0
    while made.is_open and now < 120 * SECOND:
        now += SECOND
        for event in feed(now):
            made.step(now, event)
        made.step(now, s.Due())
    assert any(text.startswith(reason) for text in made.reasons)
    assert now <= 31 * SECOND


def test_a_stream_that_does_not_begin_takes_no_healthy_ones_along():
    """Where the canary speaks the connection delivers: a stream by the clock that stays silent is
    noted and given up, the connection stays open and counts as healthy."""
    marks = "!markPrice@arr@1s"
    made = opened(streams=(CANARY, marks))
    notes = []
    for second in range(1, 40):
        now = second * SECOND
        made.step(now, s.Ponged())
        out = [*made.step(now, s.Received(5, now, (CANARY,))), *made.step(now, s.Due())]
        notes += [one.fields["stream"] for one in out if isinstance(one, s.Note)]
    assert made.is_open
    assert made.is_healthy
    assert notes == [marks]
    assert made.reasons == {}


def test_silence_of_a_connection_that_spoke():
    """A connection with a canary is dead after the cadence limit, one without after the heartbeat's."""
    for streams, limit in (((CANARY,), 15), (("quietusdt@kline_1m",), 60)):
        made = opened(streams=streams)
        made.step(SECOND, s.Received(1, SECOND, streams))
        now = SECOND
        while made.is_open:
            now += SECOND
            made.step(now, s.Ponged())
            made.step(now, s.Due())
        assert made.reasons == {"silence": 1}
        assert limit <= now / SECOND <= limit + 2


def test_renewal_is_asked_for_before_a_day_is_over():
    """The session asks for a successor and goes on serving."""
    made = opened(max_connection_age=100.0)
    now, asked = 0, []
    while now < 130 * SECOND:
        now += SECOND
        made.step(now, s.Received(1, now, (CANARY,)))
        made.step(now, s.Ponged())
        asked += [e for e in of(made.step(now, s.Due()), s.Emit) if e.kind == "renewal"]
    assert len(asked) == 1
    assert made.is_open


def test_a_removed_stream_is_no_longer_awaited():
    """WantStreams subscribes the new, unsubscribes the old, and forgets their deadlines."""
    made = opened(streams=(CANARY, "a@kline_1m"))
    sends = of(made.step(SECOND, s.WantStreams((CANARY, "b@kline_1m"))), s.Send)
    bodies = [json.loads(send.payload) for send in sends]
    assert [(b["method"], b["params"]) for b in bodies] == [
        ("UNSUBSCRIBE", ["a@kline_1m"]), ("SUBSCRIBE", ["b@kline_1m"]),
    ]  # fmt: skip
    made.step(2 * SECOND, s.Closed(1006, ""))
    (connect,) = of(made.step(10 * SECOND, s.Due()), s.Connect)
    assert connect.url.endswith(f"{CANARY}/b@kline_1m")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                [
                    s.Start(),
                    s.Opened(),
                    s.Ponged(),
                    s.Due(),
                    s.Stop(),
                    s.Closed(1006, "x"),
                    s.Received(1, 0, (CANARY,)),
                    s.Replied(1_000_001),
                    s.Replied(1_000_002, "bad"),
                    s.WantStreams((CANARY,)),
                    s.WantStreams((CANARY, "x@kline_1m", "y@kline_1m")),
                    s.Distrusted(("ethusdt@kline_1m",)),
                ]
            ),
            st.integers(0, 40),
        ),
        max_size=60,
    )
)
def test_any_sequence_keeps_its_promises(events):
    """Whatever comes: at most one socket, no send without one, never ten messages in a second."""
    made, now, is_open, sent = make(), 0, False, []
    for event, seconds in events:
        now += seconds * SECOND
        if isinstance(event, s.Opened):
            if made.state not in (
                ConnectionState.CONNECTING, ConnectionState.RECONNECTING, ConnectionState.FAILED,
            ):  # fmt: skip
                continue  # a socket opens once, and only when it was asked for
            is_open = True
        if isinstance(event, s.Closed):
            is_open = False
        for action in made.step(now, event):
            if isinstance(action, s.Connect):
                assert not is_open
            elif isinstance(action, s.Close):
                is_open = False
            elif isinstance(action, s.Send | s.Ping):
                assert is_open
                sent.append(now)
            elif isinstance(action, s.WakeAt):
                assert action.at_ns >= now
        assert made.is_open == is_open or not made.is_open
    for start in sent:
        assert sum(start <= at < start + SECOND for at in sent) < 10
