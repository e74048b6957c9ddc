"""The golden scan: decisions on a fixed made-up market as reviewed text; a change is a diff.

To accept a change: `python -m tests.signals.test_golden`, then read the diff before committing.
"""

from pathlib import Path

import msgspec
from tests.markets import START_MS, random_market

from cryptosignal.domain.params import ParamSet
from cryptosignal.factors.catalogue import FactorEngine
from cryptosignal.signals.decide import SignalMemory, decide
from cryptosignal.signals.decisions import TIERS
from cryptosignal.signals.explain import explain

GOLDEN = Path(__file__).parent / "golden" / "scan.txt"
BASE = ParamSet()
PARAMS = msgspec.structs.replace(
    BASE,
    gates=msgspec.structs.replace(BASE.gates, strength_mature=18.0, dims_min=2, micro_min=1),
    tiers=msgspec.structs.replace(BASE.tiers, watch_strength=15.0),
)


def scan_text():
    """One line a symbol (tier, side, numbers, what stopped it), then one explanation in full."""
    view = random_market(77, symbols=24, end_ms=START_MS + 3 * 3_600_000)
    found = decide(FactorEngine(PARAMS).compute(view, 1, "bar:1h"), PARAMS, SignalMemory())
    lines = []
    for i in range(len(found)):
        factors = " ".join(
            f"{n}{v:+.1f}"
            for n, v in zip(found.scores.names, found.scores.values[:, i], strict=True)
        )
        lines.append(
            f"{found.rows.symbols[i]} {TIERS[int(found.tiers[i])].value} {found.side(i)} "
            f"score {found.scores.score[i]:+.2f} p {found.odds.p[i]:.3f} "
            f"ev {1e4 * found.values.ev[i]:+.1f}bps strength {found.strength[i]:.1f} | {factors}"
        )
        lines.append("    " + ("; ".join(found.reasons(i)) or "nothing stopped it"))
    best = found.top(1)[0]
    return "\n".join([*lines, "", *explain(best), "", "digest text", found.text()])


def test_the_golden_scan():
    """Every decision is what was reviewed, to the digit that is shown."""
    assert scan_text().splitlines() == GOLDEN.read_text(encoding="utf-8").splitlines()


if __name__ == "__main__":
    GOLDEN.write_text(scan_text(), encoding="utf-8")
