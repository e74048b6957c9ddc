"""The factor engine: no look-ahead, restart and cadence, bounded scores, no data, user factors."""

import dataclasses

import numpy as np
import pytest
from tests.markets import START_MS, mirrored, poisoned, random_market

from cryptosignal.domain.params import ParamSet
from cryptosignal.factors.catalogue import BAR_FACTORS, Factor, FactorEngine, register_factor
from cryptosignal.market.views import BarsView

PARAMS = ParamSet()
HOUR = 3_600_000


@pytest.fixture(scope="module")
def market():
    return random_market(11, symbols=14)


def compute(view, params=PARAMS, factors=BAR_FACTORS):
    return FactorEngine(params, factors).compute(view, 1, "manual").columns


def same(one, two, atol=1e-9, skip=()):
    assert one.keys() == two.keys()
    for name in one:
        if name not in skip:
            np.testing.assert_allclose(one[name], two[name], atol=atol, rtol=1e-9, err_msg=name)


def early(view, hours):
    """The view as of `hours` ago, future rows still in its arrays."""
    return dataclasses.replace(view, time_ms=view.time_ms - hours * HOUR)


def test_nothing_later_than_the_decision_is_read(market):
    """Poisoning every row after the decision time changes no column."""
    past = early(market, 7)
    same(compute(past), compute(poisoned(past, past.time_ms)))


def test_a_restart_gives_the_same_numbers(market):
    """A view that holds only the last 300 1h bars gives the same scores as one that holds 400."""
    old = market.bars["1h"]
    short = BarsView(
        "1h", old.open_ms[-300:], old.data[:, :, -300:], old.finality[:, -300:],
        old.source[:, -300:], old.lag_ms[:, -300:],
    )  # fmt: skip
    cut = dataclasses.replace(market, bars={**market.bars, "1h": short})
    same(compute(market), compute(cut), skip=("ctx.bars_1h",))


def test_one_engine_over_time_equals_fresh_ones(market):
    """Stepping one engine hour by hour gives what a new engine gives at the end, and twice is once."""
    engine = FactorEngine(PARAMS)
    for hours in (3, 2, 1, 0, 0):
        stepped = engine.compute(early(market, hours), 1, "bar:1h").columns
    same(stepped, compute(market), atol=1e-9)


def test_a_whole_history_equals_step_by_step(market):
    """Columns of many times at once equal those of each time alone."""
    from cryptosignal.factors import now

    times = np.array([market.time_ms - k * HOUR for k in (5, 4, 2, 1, 0)])
    facts = now.facts(market, PARAMS)
    batch = FactorEngine(PARAMS).columns(market, times, facts)
    for k, time_ms in enumerate(times):
        alone = FactorEngine(PARAMS).columns(market, np.array([time_ms]), facts)
        for name, values in alone.items():
            np.testing.assert_allclose(
                batch[name][:, k], values[:, 0], atol=1e-9, rtol=1e-9, err_msg=name
            )


def test_scores_are_bounded(market):
    """Scores stay within ±100 and are not all at the stops, also after a 20-sigma bar."""
    old = market.bars["1h"]
    data = old.data.copy()
    data[1:4, :, -1] *= 1.5
    wild = dataclasses.replace(
        market, bars={**market.bars, "1h": dataclasses.replace(old, data=data)}
    )
    for view in (market, wild):
        for name, values in compute(view).items():
            if name.startswith("score."):
                known = values[~np.isnan(values)]
                assert (np.abs(known) <= 100.0).all(), name


def test_no_data_in_is_no_data_out(market):
    """A symbol whose newest bar is missing has no bar scores; one without taker volume has no C."""
    old = market.bars["1h"]
    data = old.data.copy()
    data[:, 3, -1] = np.nan
    data[7, 5] = np.nan
    columns = compute(
        dataclasses.replace(market, bars={**market.bars, "1h": dataclasses.replace(old, data=data)})
    )
    for name in ("T", "M", "C", "S", "V", "O"):
        assert np.isnan(columns[f"score.{name}"][3]), name
        assert np.isfinite(columns[f"score.{name}"][4]), name
    assert np.isnan(columns["score.C"][5])
    assert np.isfinite(columns["score.T"][5])


def test_an_empty_market_has_no_scores():
    """A view without any bars gives NaN everywhere and raises nothing."""
    view = dataclasses.replace(random_market(1, symbols=3), bars={}, book=None, flow=None,
                               open_interest=None, funding_history=None)  # fmt: skip
    columns = compute(view)
    assert all(np.isnan(columns[f"score.{n}"]).all() for n in "TMCSVO")


def test_synthetic_flow_weighs_nothing_unless_accepted(market):
    """Flow that a file lacked and a venue made up gives no C, O, Q unless the parameters accept it."""
    made_up = dataclasses.replace(market, synthetic_flow=("taker_flow", "trades", "open_interest"))
    assert np.isnan(compute(made_up)["score.C"]).all()
    import msgspec

    accepted = msgspec.structs.replace(PARAMS, accept_synthetic_flow=True)
    assert np.isfinite(compute(made_up, accepted)["score.C"]).all()


def test_a_user_factor_is_a_row_like_the_others(market):
    """A registered factor gets raw values and scores under its own name, mirrored like the rest."""
    mine = Factor("GAP", "log", ("bars",), "1h", 2, 1e-4,
                  lambda panel, params: panel.at(panel.open) - panel.at(panel.close, 1) +
                  panel.change(1), "mine")  # fmt: skip
    table = register_factor(BAR_FACTORS, mine)
    here, there = compute(market, factors=table), compute(mirrored(market), factors=table)
    assert np.isfinite(here["score.GAP"]).all()
    np.testing.assert_allclose(here["score.GAP"], -there["score.GAP"], atol=1e-9)


def test_files_without_quote_volume_keep_the_mirror(market):
    """Where takers are known and turnover is not, C is there and still changes sign in the mirror;
    it is what it was with turnover."""
    bars = {}
    for name, one in market.bars.items():
        data = one.data.copy()
        data[5] = data[8] = np.nan
        bars[name] = dataclasses.replace(one, data=data)
    bare = dataclasses.replace(market, bars=bars)
    here, there = compute(bare), compute(mirrored(bare))
    for name in ("score.C", "score.C.1", "raw.C"):
        assert np.isfinite(here[name]).all()
        np.testing.assert_allclose(here[name], -there[name], atol=1e-9)
        np.testing.assert_array_equal(here[name], compute(market)[name])


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"name": "T"}, "twice"),
        ({"name": "a b"}, "letters"),
        ({"interval": "5m"}, "1h"),
        ({"lookback": 400}, "lookback"),
        ({"floor": 0.0}, "floor"),
        ({"crowded": 0.2}, "crowded"),
    ],
)
def test_a_bad_factor_is_refused_with_one_line(change, text):
    """Registration says what was found and what is allowed."""
    row = Factor("X", "", ("bars",), "1h", 2, 1.0, lambda panel, params: panel.change(1))
    with pytest.raises(ValueError, match=text):
        register_factor(BAR_FACTORS, dataclasses.replace(row, **change))


def test_inactive_slots_have_no_row(market):
    """Slots out of the universe are scored by nobody."""
    active = market.active.copy()
    active[4] = False
    rows = FactorEngine(PARAMS).compute(dataclasses.replace(market, active=active), 1, "manual")
    assert market.symbols[4] not in rows.symbols
    assert all(len(c) == len(rows.symbols) for c in rows.columns.values())


def test_start_is_a_day_boundary():
    """The made-up markets end on a bar boundary of every interval."""
    assert START_MS % 86_400_000 == 0
