"""What the scans of a run say together: how often each gate lets through, which alone stops, what the
factors look like, and whether the scores still fall as they did (DOMAIN §1.10).

Read from the decision blocks: the same rows decided again by the same engine.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from cryptosignal.domain.events import CancelRecorded, FactRecorded, IntentRecorded, ScanTaken
from cryptosignal.domain.ports import Disk
from cryptosignal.ground.calendar import utc_text
from cryptosignal.ground.faults import UserFault
from cryptosignal.modes.replay import engine_of, fold_history, run_named
from cryptosignal.signals.decisions import TIERS, ScanDecisions
from cryptosignal.signals.drift import WARN_PSI, ScoreHistogram, stability_index
from cryptosignal.signals.explain import FACTOR_WORDS, GATE_WORDS
from cryptosignal.signals.gates import NO_DATA, PASS, WARMING
from cryptosignal.store.disk import FileDisk
from cryptosignal.store.runs import Digest, read_run

Floats = NDArray[np.float64]

SCANS_MAX: Final = 2_000
_POINTS: Final = {"min": 0, "p25": 25, "p50": 50, "p75": 75, "max": 100}
_MISSES_SHOWN: Final = 5


class GateStats(msgspec.Struct):
    """One gate over all decisions: shares 0–1 that it passed and that had no data for it, and how many
    decisions it alone kept from Prime."""

    passed: float
    no_data: float
    alone: int


class ScanStats(msgspec.Struct):
    """The newest `scans` market scans of a run. `drift` is the population stability index of the
    later half's scores against the earlier half's; NaN with fewer than two scans."""

    run: str
    first_ms: int
    last_ms: int
    scans: int
    decisions: int
    skipped: int
    tiers: dict[str, int]
    gates: dict[str, GateStats]
    percentiles: dict[str, dict[str, float]]
    near_misses: list[dict[str, Any]]
    drift: float
    is_drifting: bool


def scan_stats(data_dir: str, run: str, last: int, at_ms: int | None) -> ScanStats:
    """Statistics of the newest `last` market scans of a run at or before `at_ms` (None: now).

    `run` names a journal folder; "" takes the newest run under `data_dir`. Raises UserFault where
    there is no such run or it holds no scan.
    """
    if not 1 <= last <= SCANS_MAX:
        raise UserFault(f"--last: found {last}, allowed: 1 to {SCANS_MAX}")
    root, run_dir = run_named(data_dir, run, at_ms)
    disk = FileDisk(root, read_only=True)
    try:
        kept = deque(_scans(disk, run_dir, at_ms), maxlen=last)
    finally:
        disk.close()
    if not kept:
        when = "" if at_ms is None else f" at or before {utc_text(at_ms)}"
        raise UserFault(f"{run_dir}: no scan of the market{when}")
    return _together(Path(run_dir).name, list(kept))


class _Told(msgspec.Struct):
    """What is kept of one scan."""

    time_ms: int
    tiers: Counter[str]
    skipped: int
    passed: Counter[str]
    no_data: Counter[str]
    alone: Counter[str]
    values: dict[str, Any]
    stats: dict[str, Any]


def _scans(disk: Disk, run_dir: str, at_ms: int | None) -> Iterator[_Told]:
    reader = read_run(disk, run_dir, past_gaps=True)
    header = reader.header()
    engine = engine_of(header)
    fold_history(disk, header, engine)
    for record in reader:
        event = record.event
        if isinstance(event, Digest | IntentRecorded | CancelRecorded | FactRecorded):
            continue
        if isinstance(event, ScanTaken) and at_ms is not None and event.rows.time_ms > at_ms:
            return
        engine.step(record.now_ms, event)
        latest = engine.latest
        if isinstance(event, ScanTaken) and latest is not None and latest is engine.newest:
            yield _told(latest)


def _told(found: ScanDecisions) -> _Told:
    names, verdicts = list(found.table.names), found.table.verdicts
    passed, alone = Counter[str](), Counter[str]()
    blank = Counter[str]()
    contested = found.contested()
    stops = np.vstack([verdicts != PASS, *(bad[None] for bad in contested.values())])
    lonely = stops.sum(axis=0) == 1
    for k, name in enumerate([*names, *contested]):
        passed[name] = int((~stops[k]).sum())
        alone[name] = int((stops[k] & lonely).sum())
        if k < len(names):
            blank[name] = int(((verdicts[k] == NO_DATA) | (verdicts[k] == WARMING)).sum())
    values = {"score": found.scores.score, "p": found.odds.p, "prime_strength": found.strength}
    values |= dict(zip(found.scores.names, found.scores.values, strict=True))
    tiers = Counter({t.value: int((found.tiers == k).sum()) for k, t in enumerate(TIERS)})
    skipped = int(found.skipped().sum())
    kept = {name: value.astype(np.float32) for name, value in values.items()}
    return _Told(found.rows.time_ms, tiers, skipped, passed, blank, alone, kept, found.stats())


def _together(run: str, scans: list[_Told]) -> ScanStats:
    tiers, passed, blank, alone = (Counter[str]() for _ in range(4))
    for scan in scans:
        tiers += scan.tiers
        passed += scan.passed
        blank += scan.no_data
        alone += scan.alone
    total = sum(tiers.values())
    gates = dict.fromkeys(name for scan in scans for name in scan.passed)
    middle = len(scans) // 2
    earlier, later = ScoreHistogram(), ScoreHistogram()
    for k, scan in enumerate(scans):
        scores = scan.values["score"].astype(np.float64)
        earlier, later = (
            (earlier.add(scores), later) if k < middle else (earlier, later.add(scores))
        )
    drift = stability_index(earlier, later)
    share = 1.0 / max(total, 1)
    return ScanStats(
        run=run,
        first_ms=scans[0].time_ms,
        last_ms=scans[-1].time_ms,
        scans=len(scans),
        decisions=total,
        skipped=sum(scan.skipped for scan in scans),
        tiers={t.value: tiers[t.value] for t in TIERS},
        gates={n: GateStats(passed[n] * share, blank[n] * share, alone[n]) for n in gates},
        percentiles={
            name: _percentiles(np.concatenate([scan.values[name] for scan in scans]))
            for name in scans[-1].values
        },
        near_misses=scans[-1].stats["near_misses"],
        drift=drift,
        is_drifting=drift > WARN_PSI,
    )


def _percentiles(values: Floats) -> dict[str, float]:
    known = values[~np.isnan(values)]
    if not len(known):
        return {}
    found = np.percentile(known, list(_POINTS.values()))
    return {name: round(float(v), 4) for name, v in zip(_POINTS, found, strict=True)}


def words(found: ScanStats) -> list[str]:
    """The statistics as lines of text."""
    share = 100.0 / max(found.decisions, 1)
    tiers = ", ".join(f"{n} {t} ({share * n:.2f} %)" for t, n in found.tiers.items())
    lines = [
        f"{found.run}: {found.scans} scans, {utc_text(found.first_ms)} to "
        f"{utc_text(found.last_ms)} UTC",
        f"{found.decisions} decisions: {tiers}; {found.skipped} with too little data",
        "",
        f"{'Gate':<42} {'passes':>8} {'no data':>8} {'alone stopped':>14}",
    ]
    for name, gate in sorted(found.gates.items(), key=lambda pair: pair[1].passed):
        lines.append(
            f"  {GATE_WORDS.get(name, name):<40} {100.0 * gate.passed:>6.1f} % "
            f"{100.0 * gate.no_data:>6.1f} % {gate.alone:>14}"
        )
    head = " ".join(f"{name:>8}" for name in _POINTS)
    lines += ["", f"{'Over all decisions':<42} {head}"]
    for name, points in found.percentiles.items():
        word = FACTOR_WORDS.get(name, name.replace("_", " "))
        label = f"{name} {word}" if name in FACTOR_WORDS else word
        cells = " ".join(f"{v:>8.4g}" for v in points.values()) or "no data"
        lines.append(f"  {label:<40} {cells}")
    lines += ["", f"Near misses of the newest scan: {len(found.near_misses) or 'none'}"]
    for miss in found.near_misses[:_MISSES_SHOWN]:
        why = "; ".join(miss["missed"])
        lines.append(f"  {miss['symbol']} {miss['side']} {miss['prime_strength']:.1f}: {why}")
    return [*lines, "", _drift_words(found)]


def _drift_words(found: ScanStats) -> str:
    if math.isnan(found.drift):
        return "Drift of the scores: it takes two scans to tell"
    word = "the scores fall differently now" if found.is_drifting else "as before"
    return (
        f"Drift of the scores, later half against earlier: {found.drift:.3f} "
        f"({word}; above {WARN_PSI:g} is a change)"
    )
