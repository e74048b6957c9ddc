"""Factors of your own from a Python file: `run.factor_files` names it, `FACTORS` in it lists them.

A file is run once, when the program starts; it may import `cryptosignal.factors` and nothing here
hinders it from doing anything else, so name only files that you wrote. See examples/user_factor.py.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from cryptosignal.domain.params import ParamSet
from cryptosignal.factors.catalogue import BAR_FACTORS, Factor, register_factor
from cryptosignal.ground.faults import UserFault


def factor_table(files: Sequence[str], params: ParamSet) -> tuple[Factor, ...]:
    """The table of factors with those of `files` registered; each needs a weight in `params`.

    Raises UserFault with one line: the file, what was found, what is allowed.
    """
    table = BAR_FACTORS
    for name in files:
        for factor in _read(Path(name)):
            try:
                table = register_factor(table, factor)
            except ValueError as fault:
                raise UserFault(f"{name}: {fault}") from None
    own = [factor.name for factor in table if factor.name not in params.weights]
    if own:
        raise UserFault(
            f"params.weights: found none for the factor {own[0]}, allowed: one for each factor"
        )
    known = {factor.name for factor in table} | {"L", "B", "Q"}
    lost = sorted(set(params.weights) - known)
    if lost:
        raise UserFault(
            f"params.weights: found the unknown factor {lost[0]}, allowed: {', '.join(sorted(known))}"
        )
    return table


def _read(path: Path) -> tuple[Factor, ...]:
    if not path.is_file():
        raise UserFault(f"run.factor_files: found no file {path}, allowed: Python files")
    spec = importlib.util.spec_from_file_location(f"user_factors_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UserFault(f"run.factor_files: found {path}, allowed: a file that ends with .py")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (ImportError, SyntaxError, NameError, AttributeError, TypeError, ValueError) as fault:
        raise UserFault(f"{path}: {type(fault).__name__}: {fault}") from None
    found = getattr(module, "FACTORS", None)
    if not isinstance(found, tuple | list) or not all(isinstance(f, Factor) for f in found):
        raise UserFault(f"{path}: found no FACTORS, allowed: FACTORS = (Factor(…), …)")
    return tuple(found)
