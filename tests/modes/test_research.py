"""An archive decided bar by bar: reading, batch against step by step, evidence, plain errors."""

import dataclasses

import numpy as np
import pytest
from tests.markets import START_MS, fold, walk_bars
from tests.shared import SHARED, needs_shared

from cryptosignal.domain.params import ParamSet
from cryptosignal.factors.catalogue import FactorEngine
from cryptosignal.factors.history import flatten
from cryptosignal.ground.faults import UserFault
from cryptosignal.ground.units import INTERVAL_MS
from cryptosignal.modes.archive import load_archive, view_from_candles
from cryptosignal.modes.evidence import evaluate_factors, supported
from cryptosignal.modes.evidence_words import markdown
from cryptosignal.modes.research import decide_archive, decisions
from cryptosignal.signals.decide import SignalMemory, assess, settle
from cryptosignal.signals.decisions import TIERS

pl = pytest.importorskip("polars")
HOUR = 3_600_000
PARAMS = ParamSet()
NAMES = ["BTCUSDT", "ETHUSDT", *(f"C{i:02d}USDT" for i in range(2, 13))]


def long(bars, names, taker=False):
    symbols, count = bars.close.shape
    fields = ("open", "high", "low", "close", "volume")
    data = {
        "symbol": np.repeat(names, count).tolist(),
        "open_time": np.tile(bars.open_ms, symbols),
        **{name: bars.data[k].ravel() for k, name in enumerate(fields)},
    }
    if taker:
        data["quote_volume"] = bars.data[5].ravel()
        data["taker_buy_volume"] = bars.data[7].ravel()
    return pl.DataFrame(data)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """20 days of 13 coins: 1h and 15m candles with taker volume, funding; one coin listed late."""
    root = tmp_path_factory.mktemp("archive")
    quarter = walk_bars(np.random.default_rng(5), len(NAMES), 20 * 96, "15m", START_MS, 0.004)
    quarter.data[:, 7, : 6 * 96] = np.nan
    long(quarter, NAMES, taker=True).drop_nulls().filter(
        pl.col("close").is_not_nan()
    ).write_parquet(root / "klines_15m.parquet")
    hours = long(fold(quarter, 4, "1h"), NAMES, taker=True).filter(pl.col("close").is_not_nan())
    hours.write_parquet(root / "klines_1h.parquet")
    times = START_MS - 8 * HOUR * np.arange(59, -1, -1)
    rng = np.random.default_rng(6)
    pl.DataFrame(
        {
            "symbol": np.repeat(NAMES, 60).tolist(),
            "funding_time": np.tile(times, len(NAMES)),
            "funding_rate": rng.normal(0, 1e-4, 60 * len(NAMES)),
        }
    ).write_parquet(root / "funding.parquet")
    return root


def test_every_bar_of_every_symbol_has_a_row(folder, tmp_path):
    """One row per symbol and closed bar in the range, with factors, gates, plan and both tiers."""
    out = tmp_path / "decisions.parquet"
    start = START_MS - 48 * HOUR
    summary = decide_archive(folder, out, from_ms=start, to_ms=START_MS)
    frame = pl.read_parquet(out)
    assert frame.height == summary.rows == 49 * len(NAMES)
    assert frame["time"].min() == start
    assert frame["time"].max() == START_MS
    wanted = {"time", "symbol", "side", "score", "prime_strength", "p", "p_calibrated", "ev", "tier",
              "tier_open", "factor_T", "factor_Q", "gate_ev", "gate_spread", "entry_low",
              "stop_loss", "take_profit_2"}  # fmt: skip
    assert wanted <= set(frame.columns)
    assert (frame["gate_spread"] == "no_data").all()
    assert (frame["tier"] != "prime").all()
    assert frame["factor_L"].null_count() == frame.height
    assert frame["factor_C"].null_count() == 0
    assert (frame["bar_open"] + HOUR == frame["time"]).all()


def test_batch_and_step_by_step_decide_alike(folder):
    """Deciding a range at once equals one view, one engine call and one decision per bar."""
    archive = load_archive(folder)
    start = START_MS - 30 * HOUR
    batch = {}
    for found, _, _ in decisions(archive, PARAMS, start, START_MS):
        moment = found.rows.columns["ctx.time_ms"].astype(np.int64)
        for i, symbol in enumerate(found.rows.symbols):
            batch[int(moment[i]), symbol] = (
                found.scores.score[i], found.odds.p[i], found.values.ev[i], found.strength[i],
                int(found.tiers[i]), found.table.verdicts[:, i].tolist(),
            )  # fmt: skip
    memory, engine = SignalMemory(), FactorEngine(PARAMS)
    seen = 0
    for time_ms in range(start, START_MS + 1, HOUR):
        view = view_from_candles(archive, time_ms)
        times = np.array([time_ms])
        columns = engine.columns(view, times, archive.facts(view, times))
        rows, _ = flatten(view, times, columns)
        one = assess(rows, PARAMS)
        settle(one, memory, time_ms)
        for i, symbol in enumerate(rows.symbols):
            score, p, ev, strength, tier, verdicts = batch[time_ms, symbol]
            assert score == pytest.approx(one.scores.score[i], abs=1e-8)
            assert p == pytest.approx(one.odds.p[i], abs=1e-9)
            assert ev == pytest.approx(one.values.ev[i], abs=1e-9)
            assert strength == pytest.approx(one.strength[i], abs=1e-7)
            assert TIERS[tier] == TIERS[int(one.tiers[i])]
            assert verdicts == one.table.verdicts[:, i].tolist()
            seen += 1
    assert seen == len(batch)


def test_chunks_change_no_number(folder, monkeypatch):
    """Where a history is cut for memory, nothing changes."""
    from cryptosignal.modes import research

    archive = load_archive(folder)

    def scores():
        return np.concatenate(
            [
                f.scores.score
                for f, _, _ in decisions(archive, PARAMS, START_MS - 40 * HOUR, START_MS)
            ]
        )

    whole = scores()
    monkeypatch.setattr(research, "CHUNK_MS", 7 * HOUR)
    np.testing.assert_allclose(scores(), whole, atol=1e-8)


def test_no_row_knows_the_future(folder):
    """Poisoning everything after a bar leaves the decisions up to it as they were."""
    archive = load_archive(folder)
    edge = START_MS - 20 * HOUR

    def score(known):
        return next(f.scores.score for f, _, _ in decisions(known, PARAMS, edge - 5 * HOUR, edge))

    before = score(archive)
    for interval, rows in archive.klines.items():
        step = INTERVAL_MS[interval]
        late = (rows.time_ms + step > edge)[:, None]
        rows.values = np.where(late, 1e30, rows.values)
    late = (archive.funding.time_ms > edge)[:, None]
    archive.funding.values = np.where(late, 1e30, archive.funding.values)
    np.testing.assert_array_equal(score(archive), before)


def test_longer_bars_are_summed_from_whole_groups(folder):
    """4h and daily bars that no file holds come from 1h bars, and a gap leaves a gap."""
    view = view_from_candles(load_archive(folder), START_MS)
    hours, four = view.bars["1h"], view.bars["4h"]
    assert four.close[3, -1] == hours.close[3, -1]
    assert four.high[3, -1] == hours.high[3, -4:].max()
    assert four.volume[3, -1] == pytest.approx(hours.volume[3, -4:].sum())
    late = view.symbols.index(NAMES[7])
    assert np.isnan(four.close[late]).sum() > np.isnan(four.close[3]).sum()


def test_a_late_listing_is_a_new_coin(folder):
    """A coin that appears days after the archive begins is treated as newly listed."""
    view = view_from_candles(load_archive(folder), START_MS)
    late = view.symbols.index(NAMES[7])
    assert view.onboard_ms[late] == START_MS - 14 * 24 * HOUR
    assert np.isnan(view.onboard_ms[0])


def test_a_file_of_another_year_makes_nobody_new(folder, tmp_path):
    """Coins that are there when their own file begins are of unknown age, whatever else lies beside."""
    for file in folder.glob("*.parquet"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    old = walk_bars(np.random.default_rng(9), 1, 48, "1h", START_MS - 900 * 24 * HOUR)
    long(old, ["BTCUSDT"]).write_parquet(tmp_path / "klines_1h_long.parquet")
    archive = load_archive(tmp_path)
    assert {archive.symbols[i] for i in archive.listed_ms} == {NAMES[7]}
    view = view_from_candles(archive, START_MS)
    columns = FactorEngine(PARAMS).columns(view, np.array([START_MS]), {})
    fresh = dict(zip(view.symbols, columns["ctx.is_new"][:, 0], strict=True))
    assert fresh[NAMES[7]] == 1.0
    assert fresh[NAMES[3]] == 0.0


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda root: root / "nothing", "found nothing"),
        (lambda root: (root / "bad.parquet").write_bytes(b"x") and root, "cannot be read"),
        (lambda root: (root / "a.csv").write_text("a,b\n1,2\n") and root, "no candles"),
    ],
)
def test_bad_data_is_refused_with_one_line(tmp_path, make, text):
    """A missing path, a broken file, a file without candles: one line that names it."""
    with pytest.raises(UserFault, match=text) as caught:
        load_archive(make(tmp_path))
    assert "\n" not in str(caught.value)


def test_evidence_on_noise_finds_nothing(folder):
    """On random walks hardly a cell survives correction, absent factors are named, rules apply."""
    found = evaluate_factors(folder, from_ms=START_MS - 8 * 24 * HOUR)
    assert set(found.absent) >= {"O", "L", "Q"}
    tested = [c for c in found.cells if c.factor in "TMCSV" and not np.isnan(c.q)]
    assert tested
    assert sum(c.q < 0.05 for c in tested) <= 2
    assert all(c.low <= c.ic <= c.high for c in tested)
    assert "No data for: O, L, Q" in markdown(found)
    found.cells = [dataclasses.replace(c, ic=-0.1, q=0.01) if c.factor == "M" else c
                   for c in found.cells]  # fmt: skip
    assert supported(found, PARAMS, "x").weights["M"] == 0.0


def test_evidence_finds_a_planted_effect(tmp_path):
    """A market whose trends go on gives T a clearly positive IC."""
    rng = np.random.default_rng(1)
    symbols, count = 16, 24 * 40
    drift = np.zeros((symbols, count))
    for k in range(1, count):
        drift[:, k] = 0.98 * drift[:, k - 1] + rng.normal(0, 0.001, symbols)
    bars = walk_bars(rng, symbols, count, "1h", START_MS, 0.004)
    path = np.exp(np.cumsum(drift, axis=1))
    bars.data[:4] *= path
    names = [f"C{i:02d}USDT" for i in range(symbols)]
    long(bars, names).write_parquet(tmp_path / "k.parquet")
    found = evaluate_factors(tmp_path)
    cell = next(c for c in found.cells if c.factor == "T" and c.horizon == 8)
    assert cell.ic > 0.05
    assert cell.q < 0.05


def test_a_factor_of_few_coins_is_measured_by_its_sign(folder, tmp_path):
    """Where fewer than ten coins have a factor it has no rank, and is told by what its sign earned;
    a file of three coins has such figures alone, a real effect in them is found, and noise is not."""
    rng = np.random.default_rng(2)
    bars = walk_bars(rng, 3, 24 * 60, "1h", START_MS, 0.004)
    flow = np.repeat(rng.choice([-1.0, 1.0], (3, 60 * 2)), 12, axis=1)
    bars.data[7] = (0.5 + 0.2 * flow) * bars.data[4]
    bars.data[:4] *= np.exp(np.cumsum(0.002 * np.roll(flow, 1, axis=1), axis=1))
    long(bars, NAMES[:3], taker=True).write_parquet(tmp_path / "k.parquet")
    found = evaluate_factors(tmp_path)
    assert not found.cells
    assert found.coins["C"] == 3
    assert "L" in found.absent
    assert "C" not in found.absent
    at = {(c.factor, c.horizon): c for c in found.scarce}
    assert at["C", 4].edge_low > 0.0
    assert at["C", 4].q < 0.05
    assert np.isnan(at["C", 4].ic)
    assert not at["V", 8].q < 0.05
    assert abs(at["V", 8].edge_bps) < 40.0
    words = markdown(found)
    assert "C (3)" in words
    assert "Rank correlation" not in words


def test_a_lean_in_a_market_that_rises_is_no_merit(tmp_path):
    """A factor that points one way most of the time earns nothing over the drift of its coins."""
    rng = np.random.default_rng(6)
    bars = walk_bars(rng, 2, 24 * 60, "1h", START_MS, 0.004, drift=0.0008)
    share = np.repeat(rng.choice([0.60, 0.60, 0.60, 0.45], (2, 60 * 4)), 6, axis=1)
    bars.data[7] = share * bars.data[4]
    long(bars, NAMES[:2], taker=True).write_parquet(tmp_path / "k.parquet")
    cell = next(c for c in evaluate_factors(tmp_path).scarce if (c.factor, c.horizon) == ("C", 8))
    assert cell.edge_low < 0.0 < cell.edge_high


@needs_shared
def test_real_candles_are_decided(tmp_path):
    """A day of the real candles beside the project: every symbol with a bar has a decision."""
    out = tmp_path / "real.parquet"
    summary = decide_archive(
        SHARED / "data" / "klines_1h.parquet", out, from_ms=1_750_000_000_000,
        to_ms=1_750_000_000_000 + 24 * HOUR,
    )  # fmt: skip
    assert summary.symbols > 90
    assert summary.moments == 24
    frame = pl.read_parquet(out)
    assert frame["score"].is_finite().all()


@pytest.fixture(scope="module")
def young_folder(tmp_path_factory):
    """Ten days of minutes of twelve coins, two of which were listed three days before the end."""
    root = tmp_path_factory.mktemp("young")
    minute = walk_bars(np.random.default_rng(8), 12, 1440 * 10, "1m", START_MS, 0.001)
    frame = long(minute, NAMES[:12], taker=True)
    late = pl.col("symbol").is_in(NAMES[10:12]) & (pl.col("open_time") < START_MS - 72 * HOUR)
    frame.filter(~late).write_parquet(root / "klines_1m.parquet")
    times = np.arange(START_MS - 240 * HOUR, START_MS, HOUR)
    mark = fold(minute, 60, "1h").close * 1.0002
    pl.DataFrame(
        {
            "symbol": np.repeat(NAMES[:12], len(times)).tolist(),
            "open_time": np.tile(times, 12),
            **{name: mark.ravel() for name in ("open", "high", "low", "close")},
        }
    ).write_parquet(root / "mark_1h.parquet")
    return root


def test_minutes_make_new_coins_in_batch_and_step_by_step(young_folder, monkeypatch):
    """Coins that a file shows being listed are scored from its minutes, alike in every cut."""
    from cryptosignal.modes import research

    archive = load_archive(young_folder)
    start = START_MS - 30 * HOUR

    def columns(
        found, names=("ctx.is_new", "ctx.ignition_up", "ctx.thrust_up", "score.T", "mod.I")
    ):
        return np.stack([found.rows.columns[name] for name in names])

    whole = np.hstack([columns(f) for f, _, _ in decisions(archive, PARAMS, start, START_MS)])
    monkeypatch.setattr(research, "CHUNK_MS", HOUR)
    steps = np.hstack([columns(f) for f, _, _ in decisions(archive, PARAMS, start, START_MS)])
    np.testing.assert_allclose(steps, whole, atol=1e-8)
    fresh = whole[0] > 0.0
    assert fresh.sum() == 2 * 31
    assert np.isfinite(whole[:, fresh]).all()
    assert np.isnan(whole[1, ~fresh]).all()


def test_the_mark_stands_in_for_the_basis(young_folder, tmp_path):
    """With mark candles B is the premium of the last price over the mark; without, no data."""
    out = tmp_path / "d.parquet"
    decide_archive(young_folder, out, from_ms=START_MS, to_ms=START_MS)
    found = pl.read_parquet(out)["factor_B"].to_numpy()
    np.testing.assert_allclose(found, 33.0 * -1e4 * np.log(1.0002) / 50.0, atol=1e-6)


def test_gates_between_symbols_have_their_columns(folder, tmp_path):
    """Correlation, new coins and cooldown are told for each row like the gates of one symbol."""
    out = tmp_path / "d.parquet"
    decide_archive(folder, out, from_ms=START_MS - 5 * HOUR, to_ms=START_MS)
    frame = pl.read_parquet(out)
    for name in ("correlation", "new_coins", "cooldown"):
        assert set(frame[f"gate_{name}"].to_list()) <= {"pass", "fail"}


@pytest.mark.parametrize(
    ("start", "stop", "text"),
    [
        (START_MS, START_MS - 24 * HOUR, "after"),
        (START_MS + 240 * HOUR, None, "after"),
        (START_MS + 24 * HOUR, START_MS + 48 * HOUR, "no closed 1h bar"),
        (0, HOUR, "no closed 1h bar"),
    ],
)
def test_an_empty_range_is_refused_with_what_there_is(folder, tmp_path, start, stop, text):
    """A range without a bar names the range of the data, and writes nothing."""
    out = tmp_path / "d.parquet"
    with pytest.raises(UserFault, match=text) as fault:
        decide_archive(folder, out, from_ms=start, to_ms=stop)
    assert "2023-11-14" in str(fault.value)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_refused(folder, tmp_path):
    """An output in a folder that is not there, or that is a folder, is one line."""
    for out in (tmp_path / "no" / "d.parquet", tmp_path):
        with pytest.raises(UserFault, match="--out: found"):
            decide_archive(folder, out)
