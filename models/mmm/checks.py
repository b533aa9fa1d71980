"""What the gate looks at in a fitted mix model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.gate import Check, GateConfig, Verdict, at_least, at_most, judge, none_of
from models.mmm.fitted import FittedMMM, baseline, expected_kpi

Array = NDArray[np.float64]


def verdict(fitted: FittedMMM, config: GateConfig | None = None) -> Verdict:
    """PASS, REVIEW or FAIL for a fitted mix model."""
    return judge(mmm_checks(fitted, config or GateConfig()))


def mmm_checks(fitted: FittedMMM, config: GateConfig) -> tuple[Check, ...]:
    """Sampler, fit, plausibility, then what the data can tell at all."""
    return (*_sampler_checks(fitted, config), *_fit_checks(fitted, config), *_data_checks(fitted, config))


def _sampler_checks(fitted: FittedMMM, config: GateConfig) -> tuple[Check, ...]:
    metrics = fitted.metrics
    n_draws = fitted.config.chains * fitted.config.draws
    longer = "Raise mmm.tune and mmm.draws; if it stays, a channel is too much like another."
    return (
        at_most("r_hat_max", _number(metrics["r_hat_max"]), config.r_hat_pass, config.r_hat_review, longer),
        at_least("ess_min", _number(metrics["ess_min"]), config.ess_pass, config.ess_review, longer),
        at_most(
            "divergences",
            _number(metrics["divergences"]),
            0,
            config.divergence_review_fraction * n_draws,
            "Raise mmm.target_accept towards 0.99.",
        ),
    )


def _fit_checks(fitted: FittedMMM, config: GateConfig) -> tuple[Check, ...]:
    holdout = fitted.metrics["coverage_90"]
    checks = [
        at_least(
            "in_sample_coverage",
            _number(fitted.in_sample["coverage_90"]),
            config.coverage_pass,
            config.coverage_review,
            "Weeks fall outside the 90 % range too often: look for outliers or a missing event, add it to controls.",
        ),
        at_least(
            "residual_memory",
            residual_memory_p_value(fitted),
            config.memory_p_value_pass,
            None,
            "Misses come in runs, so something that lasts for weeks is missing: add a control, or bend the trend more "
            "(mmm.trend_knot_weeks). Until then read the intervals as too narrow.",
        ),
        at_most(
            "negative_baseline",
            float((baseline(fitted).sum(axis=1) < 0).mean()),
            config.negative_baseline_pass,
            config.negative_baseline_review,
            "Media are credited with more than all of the KPI: calibrate with a lift test or lower "
            "mmm.priors.media_share.",
        ),
    ]
    if holdout is not None:
        checks.append(
            at_least(
                "holdout_coverage",
                float(holdout),
                config.holdout_coverage_pass,
                config.holdout_coverage_review,
                "The last weeks fell outside what the model foresaw: look for a change in the market or in tracking.",
            )
        )
    return tuple(checks)


def _data_checks(fitted: FittedMMM, config: GateConfig) -> tuple[Check, ...]:
    data = fitted.data
    silent = fitted.effect_contraction > config.contraction_max
    total = data.spend.sum()
    silent_share = float(data.spend[:, silent].sum() / total) if total > 0 else 1.0
    named = ", ".join(name for name, flag in zip(data.channels, silent, strict=True) if flag)
    n_parameters = 4 * len(data.channels) + fitted.coefficients.shape[1] + 1
    return (
        at_most(
            "spend_on_prior_alone",
            silent_share,
            config.silent_spend_fraction_pass,
            None,
            f"The data say next to nothing about {named}: plan a lift test, or vary the spend." if named else "",
        ),
        none_of(
            "constant_spend",
            (name for i, name in enumerate(data.channels) if _is_constant(data.spend[:, i])),
            "spend that varies from week to week",
            "What never changes cannot be measured; these figures are the prior's. Vary the spend or test.",
        ),
        none_of(
            "monthly_spend",
            _monthly(data.channels, data.spend, config.repeated_week_fraction_pass),
            "weekly spend as it ran",
            "Spend stays the same from week to week, as if monthly totals had been spread: load daily or weekly spend.",
        ),
        none_of(
            "alike_channels",
            _alike(data.channels, data.spend, config.correlation_pass),
            f"spends correlated by at most {config.correlation_pass:g}",
            "Only the sum of such a pair is known, not its split: join them, or test one.",
        ),
        at_least(
            "weeks_per_parameter",
            data.n_weeks / n_parameters,
            config.weeks_per_parameter_pass,
            None,
            f"{data.n_weeks} weeks for {n_parameters} parameters: priors carry much of the answer. Add history, or "
            "join small channels.",
        ),
        none_of("lift_tests", fitted.notes, "every lift test to be used", "Correct the test, or leave it out."),
    )


def residual_memory_p_value(fitted: FittedMMM) -> float:
    """Posterior predictive probability that independent noise is as alike from week to week as the residuals are.

    Compares the lag-1 autocorrelation of KPI minus expectation, draw by draw, with that of fresh noise. In (0, 1].

    Sources: Gelman et al., Bayesian Data Analysis, 3rd ed., section 6.3.
    """
    residual = fitted.data.kpi - expected_kpi(fitted)
    fresh = np.random.default_rng([fitted.config.seed, 4]).standard_normal(residual.shape)
    exceeding = int((_lag_one(fresh) >= _lag_one(residual)).sum())
    return (exceeding + 1) / (fitted.n_draws + 1)


def _lag_one(rows: Array) -> Array:
    centred = rows - rows.mean(axis=1, keepdims=True)
    return np.asarray((centred[:, 1:] * centred[:, :-1]).sum(axis=1) / (centred**2).sum(axis=1))


def _is_constant(spend: Array) -> bool:
    return bool(np.ptp(spend) <= 1e-3 * max(spend.mean(), 1e-300))  # a thousandth: rounding in reported totals


def _monthly(channels: tuple[str, ...], spend: Array, limit: float) -> list[str]:
    """Channels whose spend repeats the week before in more than `limit` of the weeks in which they ran."""
    found = []
    for i, name in enumerate(channels):
        ran = (spend[1:, i] > 0) & (spend[:-1, i] > 0)
        same = np.isclose(spend[1:, i], spend[:-1, i], rtol=1e-3)[ran]
        if ran.any() and same.mean() > limit and not _is_constant(spend[:, i]):
            found.append(name)
    return found


def _alike(channels: tuple[str, ...], spend: Array, limit: float) -> list[str]:
    varying = [i for i in range(len(channels)) if not _is_constant(spend[:, i])]
    return [
        f"{channels[i]} ~ {channels[j]}"
        for at, i in enumerate(varying)
        for j in varying[at + 1 :]
        if np.corrcoef(spend[:, i], spend[:, j])[0, 1] > limit
    ]


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
