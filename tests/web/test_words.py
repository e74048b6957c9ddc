"""What the page writes: figures people can read, every value escaped, and no figure for no data."""

from __future__ import annotations

import pytest
from tests.web.feed import FACTOR_WORDS, GATE_WORDS, Feed

from cryptosignal.web import words

EVIL = '<img src=x onerror=alert(1)>&"'
NAN = float("nan")


def decision(**changes):
    feed = Feed(count=5)
    return feed.symbol("BTCUSDT", "1h")["decision"] | changes


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (0.0, "0"), (1.0, "1"), (87_214.3, "87214"), (1.23456, "1.235"),
        (0.000123456, "0.0001235"), (-0.5, "-0.5"), (300_000.0, "300000"), (2e12, "2e+12"),
        (1e-12, "1e-12"), (NAN, "–"), (None, "–"), ("7", "–"), (99.9999, "100"), (100, "100"),
    ],
)  # fmt: skip
def test_figures(value, text):
    """Figures have four significant digits and no exponent in the common range."""
    assert words.number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1_234_567, "1,234,567"), ({"scan": 1_000, "repair": 2}, "1,002"), (None, "–")],
)
def test_counts(value, text):
    """A count has its thousands set apart, counts by lane are added up, none is no zero."""
    assert words.count(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (9.9, "9 s"), (60, "1 min"), (725, "12 min 5 s"), (11_530, "3 h 12 min"),
     (273_600, "3 d 4 h"), (-3, "0 s"), (None, "–"), (NAN, "–")],
)  # fmt: skip
def test_spans(seconds, text):
    """A span names its two largest units."""
    assert words.span(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.0012, "+12.0 bps"), (-0.00005, "-0.5 bps"), (None, "–")]
)
def test_basis_points(value, text):
    """A fraction of notional is shown in basis points with its sign."""
    assert words.bps(value) == text


def test_a_headline_says_what_was_decided():
    """Symbol, tier, side and the odds stand in the first line."""
    text = words.headline("BTCUSDT", decision(tier="prime", side="long", score=71.25, p=0.78))
    for part in ("BTCUSDT", "cs-prime", "cs-long", "+71.2", "0.78", "8 h"):
        assert part in text
    assert "no decision yet" in words.headline("BTCUSDT", None)


def test_a_plan_names_every_price():
    """Entry band, stop and both targets are there, or that there is no plan."""
    plan = {"entry_low": 1.5, "entry_high": 1.6, "stop_loss": 1.25, "take_profit_1": 1.9,
            "take_profit_2": 2.25, "atr": 0.1, "risk_frac": 0.0162}  # fmt: skip
    text = words.plan_line({"plan": plan})
    for part in ("1.5 – 1.6", "1.25", "1.9", "2.25", "1.62 %"):
        assert part in text
    assert "no price plan" in words.plan_line({"plan": None})
    assert "no price plan" in words.plan_line(None)


def test_factor_bars_lean_to_their_side():
    """A positive factor's bar starts in the middle, a negative one's ends there, 100 is full."""
    text = words.factor_bars({"factors": {"T": 50.0, "M": -100.0, "S": 250.0}}, FACTOR_WORDS)
    assert 'class="cs-up" style="left:50.0%;width:25.0%"' in text
    assert 'class="cs-down" style="left:0.0%;width:50.0%"' in text
    assert 'class="cs-up" style="left:50.0%;width:50.0%"' in text
    assert "trend" in text


def test_a_factor_without_data_says_so():
    """NaN, which crosses the socket as null, is no bar and no number but "no data"."""
    text = words.factor_bars({"factors": {"Q": None}}, FACTOR_WORDS)
    assert "no data" in text
    assert "cs-up" not in text
    assert "nan" not in words.factor_bars(decision(), FACTOR_WORDS)


def test_gates_that_stopped_it_come_first():
    """Verdicts are in words; what did not pass stands above what did."""
    text = words.gate_table(decision(), GATE_WORDS)
    verdicts = [part.split('"')[0] for part in text.split("cs-tag cs-")[1:]]
    assert verdicts == sorted(verdicts, key=lambda v: v == "pass")
    assert {"pass", "fail", "warming", "marginal"} <= set(verdicts)
    assert "price impact of the probe size" in text
    assert "warming: no book yet" in text
    assert "≥" in text


@pytest.mark.parametrize(("verdict", "text"), list(words.VERDICT_WORDS.items()))
def test_each_verdict_has_its_word_and_colour(verdict, text):
    """Every verdict is shown by colour and by word."""
    gate = {"name": "own_gate", "value": None, "relation": ">=", "limit": 1.0, "verdict": verdict}
    shown = words.gate_table({"gates": [gate]}, {})
    assert f'cs-{verdict}">{text}<' in shown
    assert "own gate" in shown


@pytest.mark.parametrize(
    "render",
    [
        lambda: words.headline(EVIL, {"tier": EVIL, "side": EVIL}),
        lambda: words.factor_bars({"factors": {EVIL: 1.0}, "modulators": {EVIL: 1}}, {EVIL: EVIL}),
        lambda: words.gate_table(
            {"gates": [{"name": EVIL, "reason": EVIL, "verdict": EVIL, "relation": EVIL}]}, {}
        ),
        lambda: words.explanation([EVIL]),
        lambda: words.connections({"connections": [{"id": EVIL, "route": EVIL, "state": EVIL}]}),
        lambda: words.weight({"weight": {"by_lane": {EVIL: 1}}}),
        lambda: words.run_facts({"mode": EVIL, "venue": EVIL, "account": EVIL}, {}),
        lambda: words.signal_list([{"symbol": EVIL, "side": EVIL, "tier": EVIL}], 9),
    ],
)
def test_text_stays_text(render):
    """Whatever a name or reason holds, it is shown and never becomes a tag or an attribute."""
    text = render()
    assert "<img" not in text
    assert "onerror=alert(1)&gt;" in text.lower()


@pytest.mark.parametrize(
    ("used", "level"), [(100, "pass"), (1_930, "marginal"), (2_310, "fail"), (2_500, "fail")]
)
def test_weight_is_coloured_by_what_is_left(used, level):
    """The gauge warns above 80 % and is red above 96 % of the venue's limit, and never overflows."""
    text = words.weight({"weight": {"used": used, "limit": 2_400, "by_lane": {"orders": 4}}})
    assert f'class="cs-{level}"' in text
    assert f"{used:,} of 2,400" in text
    assert "width:100.0%" in text or used < 2_400


def test_empty_states_are_said():
    """Before the first snapshot each panel says what it waits for."""
    assert "no connection reported" in words.connections({})
    assert "no signal published yet" in words.signal_list([], 9)
    assert "no decision yet" in words.factor_bars(None, {})
    assert "no decision yet" in words.gate_table(None, {})
    assert "no explanation yet" in words.explanation([])
    assert words.run_facts({}, {}) == ""
    assert "– of –" in words.weight({})
    assert words.quality({}, 0.9).count("–") == 5


def test_quality_is_coloured_by_its_limits():
    """Below the floor is amber within the holding range and red beneath it."""
    text = words.quality({"quality": {"min": 0.5, "median": 0.89, "below_90": 3}}, 0.90)
    assert 'cs-ink-fail">0.5<' in text
    assert 'cs-ink-marginal">0.89<' in text
    assert 'cs-ink-marginal">3<' in text


def test_signals_are_newest_first_and_bounded():
    """The list shows the newest signals only, each a way to its symbol."""
    signals = [{"symbol": f"S{i}", "time_ms": i * 1_000} for i in range(9)]
    text = words.signal_list(signals, 3)
    assert [text.index(f'data-symbol="S{i}"') for i in (8, 7, 6)] == sorted(
        text.index(f'data-symbol="S{i}"') for i in (8, 7, 6)
    )
    assert "S5" not in text


def test_what_stands_out_is_shown_escaped():
    """Findings come as the engine says them, markup made harmless; none is nothing."""
    html = words.finding_list({"findings": ["money leads price", "<b>x</b>"]})
    assert html.count("cs-finding") == 2
    assert "&lt;b&gt;x&lt;/b&gt;" in html
    assert words.finding_list({}) == words.finding_list(None) == ""


@pytest.mark.parametrize(("left", "text"), [(0.3, "30 % (high risk)"), (0.0, "0 % (high risk)")])
def test_what_is_left_of_the_size_is_in_the_plan(left, text):
    """The plan line tells the share of the size where risk filters take something, else nothing."""
    plan = dict.fromkeys(("entry_low", "entry_high", "stop_loss", "take_profit_1", "take_profit_2",
                          "risk_frac", "atr"), 1.0)  # fmt: skip
    body = {"plan": plan, "risk_level": "high", "modulators": {"size_left": left}}
    assert text in words.plan_line(body)
    assert "size" not in words.plan_line({**body, "modulators": {"size_left": 1.0}})
    assert "size" not in words.plan_line({"plan": plan})
