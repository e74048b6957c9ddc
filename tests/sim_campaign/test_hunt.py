"""The table of planted bugs and its verdict; the hunts themselves are `make mutants`."""

from __future__ import annotations

import pytest
from tests.sim_campaign import hunt
from tests.sim_campaign.hours import HOURS
from tests.sim_campaign.hunt import BUGS_MIN, ROWS, Catch, chance_of, main, rows_of, verdict
from tests.sim_campaign.mutants import MUTANTS, Mutant

from cryptosignal.modes.campaign import DayResult


def _catches(bugs: int, caught: int, **others: str) -> list[Catch]:
    rows = [("bug", "naked" if n < caught else "") for n in range(bugs)]
    rows += list(others.items())
    return [
        Catch(n, f"row {n}", kind, "dense", 0.04, 1, by, by, 1.0)
        for n, (kind, by) in enumerate(rows)
    ]


@pytest.mark.parametrize(
    ("catches", "code"),
    [
        (_catches(40, 38), 0),
        (_catches(40, 37), 1),
        (_catches(29, 29), 1),
        (_catches(30, 30, pair=""), 1),
        (_catches(30, 30, pair="naked", layer=""), 0),
        (_catches(30, 30, sound="naked"), 1),
        (_catches(30, 30, sound=""), 0),
    ],
    ids=["95 %", "92 %", "too few", "pair missed", "layer masked", "accused", "silent"],
)
def test_the_verdict(catches: list[Catch], code: int) -> None:
    """A whole run is good with 30 bugs, 95 % and every pair caught, and no sound program accused."""
    assert verdict(catches, is_whole=True)[1] == code


def test_a_part_of_the_table_is_judged_by_its_share() -> None:
    """Rows run apart are not blamed for being few."""
    assert verdict(_catches(2, 2), is_whole=False)[1] == 0
    assert verdict(_catches(2, 1), is_whole=False)[1] == 1


def test_rows_are_chosen_by_number() -> None:
    """Numbers and ranges name rows, so that a broken run goes on where it stopped."""
    assert rows_of("3,5-6,9-", 10) == [3, 5, 6, 9, 10]
    for wrong in ("0", "11", "5-3", "x", ""):
        with pytest.raises(ValueError, match="rows: "):
            rows_of(wrong, 10)


def test_the_table_is_whole() -> None:
    """Thirty bugs, unique names, every hour also lived without a bug; and what masks a layer is a row
    that must be caught, or another layer with a row that breaks both."""
    assert sum(m.kind == "bug" for m in MUTANTS) >= BUGS_MIN
    assert len({m.name for m in ROWS}) == len(ROWS)
    kinds = {m.name: m.kind for m in MUTANTS}
    for row in (m for m in MUTANTS if m.kind == "layer"):
        both = {f"{row.name}, and {row.masked_by}", f"{row.masked_by}, and {row.name}"}
        assert kinds[row.masked_by] == "bug" or both & kinds.keys(), row.name
    assert {m.hours.name for m in ROWS if m.kind == "sound"} == {h.name for h in HOURS}


def test_every_bug_is_planted_and_taken_out_again() -> None:
    """Each patch replaces something that is there, and nothing of it stays."""
    before = [_state_of(m) for m in MUTANTS]
    for mutant in MUTANTS:
        with mutant.plant():
            pass
    assert [_state_of(m) for m in MUTANTS] == before


def _state_of(mutant: Mutant) -> int:
    from cryptosignal.trading import bracket, controller, fold, proofs

    parts = (*vars(bracket).values(), *vars(controller).values(), *vars(proofs).values())
    return hash((tuple(map(id, parts)), id(fold.HANDLERS), id(fold.book_fill)))


def test_p99_of_many_hours_is_a_cry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Late positions of all hours of a row are judged together: few may be bad luck, many are not."""

    class Hour:
        def __init__(self, seed: int, settings: object) -> None:
            self.seed = seed

        def run(self) -> DayResult:
            return DayResult(self.seed, naked_spans_ms=[6_000, 6_000, *[0] * 38])

    monkeypatch.setattr(hunt, "Day", Hour)
    catch = hunt.hunt(MUTANTS[0], iter(range(1, 100)))
    assert catch.caught_by == "naked p99"
    assert 1 < catch.seed < 20
    assert chance_of(1, 100) > 0.5
    assert chance_of(7, 100) < 1e-4


def test_a_wrong_row_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A row that does not exist is refused with what is allowed, before anything runs."""
    with pytest.raises(SystemExit) as refused:
        main(["--rows", "4711"])
    assert refused.value.code == 2
    assert "4711" in capsys.readouterr().err
