"""The linear part of the mix model: intercept, trend, season, controls, demand that budgets follow.

Where a budget is set by what is sold, spend and KPI move together whatever the media do. Such a channel, named in
`MMMConfig.confounded` or found by `fit`, has its own spend as a column of the baseline too: what moves in step with
spend may then be demand, and experiments (and priors) say how much of it the channel caused.

Every column but the intercept is centred on the fitted weeks, so that the intercept is the mean baseline.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.mmm.config import MMMConfig
from models.mmm.data import MMMData, control_matrix
from models.mmm.exposure import media_of
from models.mmm.link import link_kpi

YEAR_DAYS = 365.25
FOLLOWS = "follows:"  # a column of the spend of a channel whose budget follows demand
INTERCEPT_SD = 1.0  # in KPI means: the baseline's level is left to the data, the media's size is where prior sense lies


@dataclass(frozen=True, kw_only=True)
class Design:
    """What turns weeks with controls into the columns of the linear part.

    names, centre, scale, prior_sd have one entry per column; a prior_sd is in KPI units.
    """

    names: tuple[str, ...]
    first_week: np.datetime64
    knots_days: tuple[float, ...]
    fourier_order: int
    centre: NDArray[np.float64]
    scale: NDArray[np.float64]
    prior_sd: NDArray[np.float64]


def make_design(data: MMMData, config: MMMConfig) -> Design:
    """Columns with centres, scales, prior standard deviations taken from the fitted weeks."""
    span = 7.0 * data.n_weeks
    n_pieces = max(1, round(data.n_weeks / config.trend_knot_weeks))
    knots = tuple(span * (i + 1) / n_pieces for i in range(n_pieces - 1))
    names = ("intercept", "trend", *(f"trend_bend_{i + 1}" for i in range(len(knots))))
    names += tuple(f"{wave}_{k + 1}" for k in range(config.fourier_order) for wave in ("sin", "cos"))
    names += tuple(f"control:{name}" for name in data.control_names)
    names += tuple(f"{FOLLOWS}{name}" for name in data.channels if name in (config.confounded or ()))
    extra = np.hstack([control_matrix(data), _following(names, data)])
    raw = _raw_columns(data.week_start, extra, data.week_start[0], knots, config.fourier_order)
    centre, scale = raw.mean(axis=0), raw.std(axis=0)
    centre[0], scale[0] = 0.0, 1.0
    scale[2 : 2 + len(knots)] = scale[1]  # bends are slopes too
    constant = scale <= 1e-9 * np.maximum(np.abs(centre), 1e-300)  # rounding of a 64-bit float
    scale[constant] = 1.0
    prior_sd = np.full(len(names), link_kpi(data, config).std())  # one sd of a column explains at most the KPI's own sd
    prior_sd[0] = INTERCEPT_SD * (np.abs(data.kpi).mean() if config.link == "identity" else 1.0)
    prior_sd[2 : 2 + len(knots)] *= config.trend_flexibility
    return Design(
        names=names,
        first_week=data.week_start[0],
        knots_days=knots,
        fourier_order=config.fourier_order,
        centre=centre,
        scale=scale,
        prior_sd=prior_sd,
    )


def design_matrix(
    design: Design, week_start: NDArray[np.datetime64], controls: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(n_weeks, n_columns) for any weeks, before or after the fitted ones; `controls` is (n_weeks, n_controls).

    Demand that a channel's budget follows is at its mean: a budget that is set, not followed, says nothing of demand.
    """
    n_following = sum(name.startswith(FOLLOWS) for name in design.names)
    usual = np.broadcast_to(design.centre[len(design.centre) - n_following :], (len(week_start), n_following))
    return _standardised(design, week_start, np.hstack([controls, usual]))


def fitted_columns(design: Design, data: MMMData) -> NDArray[np.float64]:
    """(n_weeks, n_columns) of the weeks in `data`, with the demand that confounded budgets followed."""
    return _standardised(design, data.week_start, np.hstack([control_matrix(data), _following(design.names, data)]))


def _following(names: tuple[str, ...], data: MMMData) -> NDArray[np.float64]:
    followed = [data.channels.index(name.removeprefix(FOLLOWS)) for name in names if name.startswith(FOLLOWS)]
    return np.asarray(media_of(data)[:, followed])


def _standardised(
    design: Design, week_start: NDArray[np.datetime64], controls: NDArray[np.float64]
) -> NDArray[np.float64]:
    raw = _raw_columns(week_start, controls, design.first_week, design.knots_days, design.fourier_order)
    return (raw - design.centre) / design.scale


def _raw_columns(
    week_start: NDArray[np.datetime64],
    controls: NDArray[np.float64],
    first_week: np.datetime64,
    knots_days: tuple[float, ...],
    fourier_order: int,
) -> NDArray[np.float64]:
    days = (week_start - first_week).astype(float)
    angle = 2 * np.pi * (week_start - np.datetime64("2000-01-01")).astype(float) / YEAR_DAYS
    columns = [np.ones_like(days), days]
    columns += [np.maximum(days - knot, 0.0) for knot in knots_days]
    columns += [wave(k * angle) for k in range(1, fourier_order + 1) for wave in (np.sin, np.cos)]
    return np.column_stack([*columns, controls])
