"""Parameter sets: valid defaults, one-line errors, JSON there and back."""

import msgspec
import pytest

from cryptosignal.domain.params import FACTOR_NAMES, ParamSet, params_from_json


def change(section, **fields):
    params = ParamSet()
    return msgspec.structs.replace(
        params, **{section: msgspec.structs.replace(getattr(params, section), **fields)}
    )


def test_the_defaults_are_valid_and_total_100():
    """Shipped weights are v6.1, total 100, in every regime and for new coins."""
    params = ParamSet().validate()
    assert [params.weights[n] for n in FACTOR_NAMES] == [18, 12, 18, 10, 10, 12, 12, 4, 4]
    for table in (params.weights, params.new_weights, *params.regime_weights.values()):
        assert sum(table.values()) == pytest.approx(100.0)


def test_json_there_and_back():
    """A set survives its JSON."""
    assert params_from_json(ParamSet().to_json()) == ParamSet()


@pytest.mark.parametrize(
    ("params", "text"),
    [
        (
            msgspec.structs.replace(ParamSet(), weights={**ParamSet().weights, "T": 19.0}),
            "total of 101",
        ),
        (msgspec.structs.replace(ParamSet(), weights={"T": 100.0}), "found none for M"),
        (change("gates", p0=1.5), "gates.p0: found 1.5, allowed: 0.5 to 1"),
        (change("gates", quality_hold=0.95), "gates.quality_hold"),
        (change("gates", new_p0=0.55), "gates.p0"),
        (change("tiers", k=5), "tiers.k"),
        (change("chain", tau=float("nan")), "chain.tau: found nan"),
        (change("cost", lambda_i_reward=0.9), "cost.lambda_i_reward"),
        (change("probability", calibration=((0.0, 0.5),)), "calibration"),
    ],
)
def test_bad_values_are_refused_with_one_line(params, text):
    """The error names the key, what was found and what is allowed, on one line."""
    with pytest.raises(ValueError, match="found") as caught:
        params.validate()
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "allowed" in str(caught.value)


def test_unknown_keys_are_refused():
    """A misspelt key in a file is an error, not a silent default."""
    with pytest.raises(ValueError, match="unknown"):
        params_from_json('{"gates": {"p_min": 0.7}}')
