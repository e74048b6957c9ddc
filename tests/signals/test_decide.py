"""Decisions of a scan: mirror, permutation, scale, repetition, missing data, ids, the nine keys."""

import dataclasses
import math

import msgspec
import numpy as np
import pytest
from tests.markets import START_MS, mirrored, permuted, random_market, scaled

from cryptosignal.domain.params import ParamSet
from cryptosignal.domain.signal import Tier, Verdict
from cryptosignal.factors.catalogue import FactorEngine
from cryptosignal.signals.decide import SignalMemory, assess, decide
from cryptosignal.signals.explain import explain
from cryptosignal.signals.memory import memory_from_bytes

PARAMS = ParamSet()
HOUR = 3_600_000
EASY = msgspec.structs.replace(
    PARAMS,
    gates=msgspec.structs.replace(
        PARAMS.gates,
        p0=0.5,
        new_p0=0.5,
        dp0=0.0,
        strength_mature=0.0,
        dims_min=0,
        mtf_min=0.0,
        micro_min=0,
        funding_guard_ms=0,
        lead_min=-101.0,
        breadth_min=0.0,
        independence_score_min=0.0,
        conflict_level=100.0,
        room_structure_atr=-99.0,
        obi_open=1.0,
        obi_hold=1.0,
        ev_min=-1.0,
    ),
    tiers=msgspec.structs.replace(PARAMS.tiers, k=1),
)


def rows_of(view, params=PARAMS, scan_id=1):
    return FactorEngine(params).compute(view, scan_id, "manual")


@pytest.fixture(scope="module")
def market():
    return random_market(3, symbols=30, end_ms=START_MS + 3 * HOUR)


def test_long_and_short_are_mirror_images(market):
    """Under the mirror every score changes sign and both probabilities swap, to 1e-9."""
    here = decide(rows_of(market), PARAMS, SignalMemory())
    there = decide(rows_of(mirrored(market)), PARAMS, SignalMemory())
    np.testing.assert_allclose(here.scores.score, -there.scores.score, atol=1e-9)
    np.testing.assert_allclose(here.scores.values[:6], -there.scores.values[:6], atol=1e-9)
    np.testing.assert_allclose(here.odds.p_long, there.odds.p_short, atol=1e-9)
    np.testing.assert_allclose(here.values.ev, there.values.ev, atol=1e-9)
    np.testing.assert_allclose(here.strength, there.strength, atol=1e-8)
    assert (here.table.verdicts == there.table.verdicts).all()
    assert (here.tiers == there.tiers).all()
    assert [here.side(i) for i in range(5)] != [there.side(i) for i in range(5)]


def test_prices_in_other_units_change_nothing(market):
    """Every price times 1000 and every quantity over 1000 leave scores and verdicts as they are."""
    here = decide(rows_of(market), PARAMS, SignalMemory())
    there = decide(rows_of(scaled(market, 1000.0)), PARAMS, SignalMemory())
    np.testing.assert_allclose(here.scores.score, there.scores.score, atol=1e-8)
    np.testing.assert_allclose(here.odds.p, there.odds.p, atol=1e-10)
    assert (here.table.verdicts == there.table.verdicts).all()


def test_order_of_symbols_changes_nothing(market):
    """Permuted slots give each symbol the same decision and the scan the same digest."""
    order = np.random.default_rng(0).permutation(len(market.symbols))
    here = decide(rows_of(market, EASY), EASY, SignalMemory())
    there = decide(rows_of(permuted(market, order), EASY), EASY, SignalMemory())
    assert here.prime()
    assert here.digest() == there.digest()
    np.testing.assert_allclose(here.scores.score[order], there.scores.score, atol=1e-9)


def test_deciding_twice_changes_nothing(market):
    """The same rows decided again with the memory of the first time give the same digest and ids."""
    memory = SignalMemory()
    engine = FactorEngine(EASY)
    first = decide(engine.compute(market, 1, "bar:1h"), EASY, memory)
    saved = memory.to_bytes()
    second = decide(engine.compute(market, 2, "interval"), EASY, memory)
    assert first.prime()
    assert first.digest() == second.digest()
    assert memory.to_bytes() == saved
    assert memory_from_bytes(saved) == memory


def test_rows_alone_are_enough(market):
    """Rows rebuilt from their columns and meta decide to the same text: replay needs no view."""
    rows = rows_of(market, EASY)
    again = dataclasses.replace(rows, columns={k: v.copy() for k, v in rows.columns.items()})
    one, two = decide(rows, EASY, SignalMemory()), decide(again, EASY, SignalMemory())
    assert one.text() == two.text()


def test_prime_needs_every_gate(market):
    """Whatever is Prime passes all gates, and no rejected decision is without a reason."""
    found = decide(rows_of(market, EASY), EASY, SignalMemory())
    for i in range(len(found)):
        decision = found.decision(i)
        verdicts = {gate.verdict for gate in decision.gates}
        if decision.tier == Tier.PRIME:
            assert verdicts == {Verdict.PASS}
            assert decision.reasons == ()
            assert decision.plan is not None
        else:
            assert decision.reasons


@pytest.mark.parametrize(
    ("change", "gate", "verdict"),
    [
        ({"quality": np.nan}, "data_quality", Verdict.WARMING),
        ({"quality": 0.80}, "data_quality", Verdict.FAIL),
        ({"quality": 0.89}, "data_quality", Verdict.MARGINAL),
        ({"book": None}, "spread", Verdict.NO_DATA),
    ],
)
def test_missing_or_degraded_data_are_never_prime(market, change, gate, verdict):
    """A gate without data or with poor data fails closed, with its reason kept."""
    fields = {k: v if v is None else np.full(len(market.symbols), v) for k, v in change.items()}
    found = decide(rows_of(dataclasses.replace(market, **fields), EASY), EASY, SignalMemory())
    assert not found.prime()
    for i in range(len(found)):
        seen = {g.name: g for g in found.decision(i).gates}[gate]
        assert seen.verdict == verdict
        assert seen.reason


def test_a_book_that_is_not_there_yet_is_warming(market):
    """Where books exist but a symbol has none, the execution gates say so and it stays below Prime."""
    book = dataclasses.replace(market.book, **{
        name: np.where(np.arange(len(market.symbols)).reshape(-1, *[1] * (x.ndim - 1)) == 4, np.nan, x)
        for name, x in ((n, getattr(market.book, n)) for n in (
            "bid_price", "bid_qty", "ask_price", "ask_qty", "age_ms"))
    })  # fmt: skip
    found = decide(rows_of(dataclasses.replace(market, book=book), EASY), EASY, SignalMemory())
    decision = found.decision(4)
    assert decision.tier != Tier.PRIME
    assert "spread: warming: no book yet" in decision.reasons
    assert math.isnan(decision.factors["L"])
    assert decision.contributions["L"] == 0.0


def test_missing_factor_weighs_nothing(market):
    """Without open interest O is no data: weight 0, and the score is that of the others."""
    bare = dataclasses.replace(market, open_interest=None)
    found = assess(rows_of(bare), PARAMS)
    at = found.scores.names.index("O")
    assert np.isnan(found.scores.values[at]).all()
    assert (found.scores.contributions[at] == 0.0).all()
    assert (found.scores.coverage < 0.9).all()


def test_signal_ids_are_short_ascii_and_stable(market):
    """Ids fit client order ids, also for symbols that are not ASCII."""
    from cryptosignal.signals.keys import signal_key

    ids = {signal_key(s, 1_763_600_000_000, side) for s in ("BTCUSDT", "币安人生USDT", "测试测试USDT")
           for side in ("long", "short")}  # fmt: skip
    assert len(ids) == 6
    assert all(len(i) <= 16 and i.isascii() and i.replace("_", "").isalnum() for i in ids)


def test_contributions_add_up_to_the_score(market):
    """The parts of a score sum to it, L with the sign of the others."""
    found = assess(rows_of(market), PARAMS)
    np.testing.assert_allclose(
        found.scores.contributions.sum(axis=0), found.scores.score, atol=1e-9
    )
    others = np.delete(found.scores.contributions, found.scores.names.index("L"), axis=0).sum(
        axis=0
    )
    liquid = found.scores.values[found.scores.names.index("L")]
    assert (np.sign(others) == np.sign(liquid)).all()


def test_plans_are_on_the_right_side(market):
    """Stops lie beyond the entry against the side, targets with it, TP2 farther than TP1."""
    found = assess(rows_of(market), PARAMS)
    for i in range(len(found)):
        plan, sign = found.plan(i), 1.0 if found.side(i) == "long" else -1.0
        assert plan.entry_low <= plan.entry_high
        middle = (plan.entry_low + plan.entry_high) / 2.0
        prices = [plan.stop_loss, middle, plan.take_profit_1, plan.take_profit_2]
        assert [sign * x for x in prices] == sorted(sign * x for x in prices)
        assert 0.0 < plan.risk_frac < 0.2


def test_cooldown_follows_a_downgrade(market):
    """A signal that ended is not published anew within the cooldown, and keeps its id while it stands."""
    memory = SignalMemory()
    rows = rows_of(market, EASY)
    first = decide(rows, EASY, memory)
    ids = {d.symbol: d.signal_id for d in first.prime()}
    strict = msgspec.structs.replace(
        EASY, gates=msgspec.structs.replace(EASY.gates, min_score=100.0)
    )
    later = dataclasses.replace(rows, time_ms=rows.time_ms + 60_000)
    assert not decide(later, strict, memory).prime()
    soon = dataclasses.replace(rows, time_ms=rows.time_ms + 120_000)
    blocked = decide(soon, EASY, memory)
    assert not set(ids) & {d.symbol for d in blocked.prime()}
    free = dataclasses.replace(rows, time_ms=rows.time_ms + EASY.tiers.diversify_ms)
    assert set(ids) <= {d.symbol for d in decide(free, EASY, memory).prime()}


def test_the_result_has_the_nine_keys(market):
    """`to_dict` has exactly the user's keys, counts what it is told, and never divides by zero."""
    found = decide(rows_of(market, EASY), EASY, SignalMemory())
    result = found.to_dict(7, {"hit_rate": "96.3%"}, 0.0)
    assert set(result) == {
        "results", "total_symbols", "signals_found", "skipped", "errors", "elapsed_seconds",
        "symbols_per_second", "api_calls", "cache_stats",
    }  # fmt: skip
    assert result["api_calls"] == 7
    assert result["symbols_per_second"] == 0.0
    assert result["signals_found"] == len(result["results"]) == len(found.prime()) > 0
    assert all(r["publish"]["prime"] and r["confidence"] >= 0.0 for r in result["results"])
    msgspec.json.encode(result)


def test_explanations_name_what_stopped_it(market):
    """Each rejected decision is explained with the gate that stopped it and what it would need."""
    found = decide(rows_of(market), PARAMS, SignalMemory())
    text = "\n".join(explain(found.decision(5)))
    assert "Stopped by:" in text
    assert "To be Prime it would have needed:" in text
    assert "What was seen" in text
    assert "T trend" in text
    prime = decide(rows_of(market, EASY), EASY, SignalMemory()).prime()[0]
    assert "Nothing stopped it." in explain(prime)


def test_statistics_cover_gates_and_factors(market):
    """Scan statistics give a pass rate per gate, near misses and percentiles per factor."""
    found = decide(rows_of(market), PARAMS, SignalMemory())
    stats = found.stats()
    assert set(stats["pass_rate"]) == set(found.table.names)
    assert set(found.scores.names) <= set(stats["percentiles"])
    assert sum(stats["tiers"].values()) == stats["symbols"] == 30


def test_no_more_than_a_few_that_move_together(market):
    """At most `correlated_max` Prime signals a side among those that move with the market."""
    params = msgspec.structs.replace(
        EASY, gates=msgspec.structs.replace(EASY.gates, correlation_max=0.0, correlated_max=2)
    )
    found = decide(rows_of(market, params), params, SignalMemory())
    sides = [d.side for d in found.prime()]
    assert 0 < sides.count("long") <= 2
    assert 0 < sides.count("short") <= 2


def test_imbalance_counts_against_the_side_only(market):
    """A book leaning hard towards the bid stops shorts and not longs; the mirror stops longs."""
    from tests.markets import book_of

    mid = market.bars["1h"].close[:, -1]
    tilt = np.full(len(mid), 0.6)
    book = book_of(np.random.default_rng(1), mid, tilt=tilt)
    leaning = dataclasses.replace(market, book=book)
    for view, stopped in ((leaning, "short"), (mirrored(leaning), "long")):
        found = assess(rows_of(view), PARAMS)
        failed = found.table.verdicts[found.table.index("obi")] == 2
        sides = {found.side(i) for i in range(len(found))}
        assert sides == {"long", "short"}
        assert all(failed[i] == (found.side(i) == stopped) for i in range(len(found)))


def bars_of(rows, place, age_days, **counts):
    """The rows with other numbers of bars and another age of one symbol."""
    columns = dict(rows.columns)
    for name, value in {
        "age_days": age_days,
        **{f"bars_{k[1:]}": v for k, v in counts.items()},
    }.items():
        columns[f"ctx.{name}"] = columns[f"ctx.{name}"].copy()
        columns[f"ctx.{name}"][place] = value
    return dataclasses.replace(rows, columns=columns)


@pytest.mark.parametrize(
    ("age_days", "counts", "said"),
    [
        (500.0, {"i15m": 20, "i1h": 24, "i4h": 7, "i1d": 3}, None),
        (500.0, {"i15m": 19}, (19.0, 20.0)),
        (500.0, {"i1h": 23}, (23.0, 24.0)),
        (500.0, {"i4h": 6}, (6.0, 7.0)),
        (np.nan, {"i1d": 2}, (2.0, 3.0)),
        (0.5, {"i15m": 47, "i1h": 11, "i4h": 2, "i1d": 0}, None),
        (0.5, {"i15m": 47, "i1h": 9, "i4h": 2, "i1d": 0}, (9.0, 11.0)),
    ],
)
def test_too_few_bars_of_an_interval_are_skipped_with_the_reason(market, age_days, counts, said):
    """Fewer bars than the least of an interval, or than a young coin can have, skip the symbol: no
    Prime, no Watch, one more in `skipped`, and the gate says how many of how many."""
    rows = rows_of(market)
    before = decide(rows, EASY, SignalMemory())
    found = decide(bars_of(rows, 4, age_days, **counts), EASY, SignalMemory())
    gate = next(g for g in found.decision(4).gates if g.name == "enough_bars")
    is_skipped = said is not None
    assert (gate.verdict is Verdict.FAIL) == is_skipped
    assert found.skipped()[4] == is_skipped
    skipped = [d.to_dict(0, {}, 1.0)["skipped"] for d in (before, found)]
    assert skipped[1] == skipped[0] + is_skipped
    if said is not None:
        assert (gate.value, gate.limit) == said
        assert found.tiers[4] == 2
        assert any("enough_bars" in reason for reason in found.reasons(4))
