"""Compiled kernels and numpy give equal columns, with gaps, on cold, warm and repaired caches."""

import dataclasses
import threading

import numpy as np
import pytest
from tests.markets import random_market

from cryptosignal.domain.params import ParamSet
from cryptosignal.factors import kernels
from cryptosignal.factors.catalogue import FactorEngine

pytest.importorskip("numba")
HOUR = 3_600_000


@pytest.fixture
def fast():
    assert kernels.enable()
    yield
    kernels.disable()


def run(view):
    engine = FactorEngine(ParamSet())
    out = []
    for hours in (2, 1, 0):
        moment = dataclasses.replace(view, time_ms=view.time_ms - hours * HOUR)
        out.append(engine.compute(moment, 1, "bar:1h").columns)
    old = view.bars["1h"]
    data = old.data.copy()
    data[:, 4, -30:-20] *= 1.01
    repaired = dataclasses.replace(old, data=data)
    view = dataclasses.replace(view, bars={**view.bars, "1h": repaired})
    return [*out, engine.compute(view, 1, "manual").columns]


def gappy():
    view = random_market(31, symbols=10, hours=330)
    old = view.bars["1h"]
    data = old.data.copy()
    data[:, 2, 100:110] = np.nan
    data[:, 3, -1] = np.nan
    data[:, 5, :-40] = np.nan
    data[:4, 6, -60:] = data[0, 6, -60]  # a coin that does not move
    return dataclasses.replace(view, bars={**view.bars, "1h": dataclasses.replace(old, data=data)})


def test_both_paths_agree(fast):
    """Every column of four scans agrees to 1e-9 between the two paths."""
    view = gappy()
    compiled = run(view)
    kernels.disable()
    plain = run(view)
    for one, two in zip(compiled, plain, strict=True):
        for name in two:
            np.testing.assert_allclose(one[name], two[name], atol=1e-9, rtol=1e-9, err_msg=name)


def test_numpy_answers_until_asked():
    """Nothing is compiled at import, and the path has a name for the journal."""
    assert kernels.path_name() == "numpy"
    assert kernels.compiled_kernels() is None


@pytest.mark.parametrize("slot", [0, 1])
def test_a_market_that_stands_still_breaks_neither_path(fast, slot):
    """BTC or ETH without any movement gives the same columns on both paths, and no error."""
    view = random_market(32, symbols=6, hours=330)
    old = view.bars["1h"]
    data = old.data.copy()
    data[:4, slot, -80:] = data[0, slot, -80]
    view = dataclasses.replace(view, bars={**view.bars, "1h": dataclasses.replace(old, data=data)})
    compiled = FactorEngine(ParamSet()).compute(view, 1, "manual").columns
    kernels.disable()
    plain = FactorEngine(ParamSet()).compute(view, 1, "manual").columns
    for name in plain:
        np.testing.assert_allclose(compiled[name], plain[name], atol=1e-9, rtol=1e-9, err_msg=name)


def test_a_rehearsal_is_seen_by_its_caller_alone():
    """While a thread rehearses, everyone else is answered by numpy; afterwards nobody is."""
    seen = []

    def work():
        seen.append(kernels.compiled_kernels() is not None)
        other = threading.Thread(target=lambda: seen.append(kernels.compiled_kernels() is not None))
        other.start()
        other.join()

    assert kernels.rehearse(work)
    assert seen == [True, False]
    assert kernels.path_name() == "numba"
    kernels.disable()
    assert kernels.compiled_kernels() is None
