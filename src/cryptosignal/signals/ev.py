"""Expected value of the chosen side, net of what it costs (DOMAIN §1.4); fractions of notional."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryptosignal.domain.params import ParamSet
from cryptosignal.domain.scan import ScanRows
from cryptosignal.factors.window import filled
from cryptosignal.signals.plan import Plans
from cryptosignal.signals.probability import Odds
from cryptosignal.signals.score import column, newness

Floats = NDArray[np.float64]


@dataclass(slots=True)
class Values:
    """[symbol]: expected value, its cost and the mean win and loss it was reckoned with."""

    ev: Floats
    cost: Floats
    win: Floats
    loss: Floats


def expect(rows: ScanRows, side: Floats, odds: Odds, plans: Plans, params: ParamSet) -> Values:
    """EV = P·μ_win − (1 − P)·μ_loss − cost, all of the chosen side, P calibrated (§0.19).

    μ come from the plan (a share out at TP1, the rest at TP2; the stop) until means of real
    outcomes are in the parameters.
    """
    own = params.cost
    mean_target = own.tp1_share * plans.tp1_log + (1.0 - own.tp1_share) * plans.tp2_log
    win = np.full_like(side, own.win_frac) if own.win_frac > 0.0 else mean_target
    loss = np.full_like(side, own.loss_frac) if own.loss_frac > 0.0 else plans.risk_log
    spent = cost(rows, side, odds, params)
    value = odds.calibrated * win - (1.0 - odds.calibrated) * loss - spent
    return Values(value, spent, win, loss)


def cost(rows: ScanRows, side: Floats, odds: Odds, params: ParamSet) -> Floats:
    """Fees both ways + impact both ways + one funding payment + crowding and dependence in ATR.

    Impact is real where a book is there and nothing where it is not: without a book the execution
    gate has failed closed already. A funding payment received is not counted on.
    """
    own = params.cost
    fresh = newness(rows, params)
    crowd = (1.0 - fresh) * own.lambda_f + fresh * own.new_lambda_f
    penalty = (1.0 - fresh) * own.lambda_i_penalty + fresh * own.new_lambda_i_penalty
    reward = (1.0 - fresh) * own.lambda_i_reward + fresh * own.new_lambda_i_reward
    atr = filled(column(rows, "ctx.atr_1h"))
    environment = (
        crowd * np.maximum(0.0, odds.g_f)
        + penalty * np.maximum(0.0, -odds.g_i)
        - reward * np.maximum(0.0, odds.g_i)
    )
    impact = column(rows, "ctx.impact_buy_bps") + column(rows, "ctx.impact_sell_bps")
    funding = np.maximum(0.0, side * filled(column(rows, "ctx.funding_rate")))
    trading = 2.0 * own.taker_fee_frac + filled(impact) * 1e-4 + funding
    # independence may make up for crowding, never for fees: cost stays above them
    return np.maximum(trading + environment * atr, trading)
