"""What the gate looks at in a fitted mix model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.gate import Check, GateConfig, Verdict, at_least, at_most, judge, none_of
from models.mmm.data import MMMData
from models.mmm.exposure import COST_MOVED, media_of, moved_costs
from models.mmm.fitted import FittedMMM, baseline, contributions, noise, residuals
from models.mmm.results import steady_ceiling

Array = NDArray[np.float64]
FALLING_MAX = 0.05  # of the draws: a curve that falls in more of them is no basis for a plan


def verdict(fitted: FittedMMM, config: GateConfig | None = None) -> Verdict:
    """PASS, REVIEW or FAIL for a fitted mix model."""
    return judge(mmm_checks(fitted, config or GateConfig()))


def mmm_checks(fitted: FittedMMM, config: GateConfig) -> tuple[Check, ...]:
    """Sampler, fit, plausibility, then what the data can tell at all."""
    return (*_sampler_checks(fitted, config), *_fit_checks(fitted, config), *_data_checks(fitted, config))


def channel_verdicts(fitted: FittedMMM, config: GateConfig | None = None) -> dict[str, Verdict]:
    """What the data can tell of each channel: PASS or REVIEW.

    A FAIL is a channel that never ran, or one that an interaction may leave with a contribution of 0 or less. A plan
    may hold a channel under REVIEW at its spend and move the others.
    """
    config, data = config or GateConfig(), fitted.data
    media = media_of(data)
    total = contributions(fitted).sum(axis=1)
    low, high = np.quantile(total, [0.05, 0.95], axis=0)
    pairs = entangled(fitted, config.entangled_pass)
    alike = _alike(data.channels, media, config.correlation_pass)
    monthly = _monthly(data.channels, media, config.repeated_week_fraction_pass)
    verdicts = {}
    for i, name in enumerate(data.channels):
        test = "Plan a lift test, or vary its spend."
        ratio = float(high[i] / low[i]) if low[i] > 0 else float("nan")  # no spend, or harm by a pair: a FAIL
        partners = [other if one == name else one for one, other, _ in pairs if name in (one, other)]
        twins = [pair for pair in alike if name in pair.split(" ~ ")]
        verdicts[name] = judge(
            (
                at_most("prior_share", float(fitted.effect_contraction[i]), config.contraction_max, None, test),
                at_most("roas_ratio", ratio, config.roas_ratio_pass, None, test),
                none_of("constant_spend", [name] * _is_constant(media[:, i]), "spend that varies", test),
                none_of("monthly_spend", [name] * (name in monthly), "weekly spend as it ran", "Load weekly spend."),
                none_of("alike_channels", twins, "spend unlike every other channel's", "Join them, or test one."),
                none_of("entangled_channels", partners, "an effect apart from every other channel's", test),
            )
        )
    return verdicts


def _sampler_checks(fitted: FittedMMM, config: GateConfig) -> tuple[Check, ...]:
    metrics = fitted.metrics
    n_draws = fitted.config.chains * fitted.config.draws
    if (k_hat := metrics.get("k_hat")) is not None:  # a quick fit: no chains that could disagree
        longer = "The quick approximation does not hold here: fit by sampling."
        return (at_most("k_hat", float(k_hat), config.k_hat_pass, config.k_hat_pass, longer),)
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
        at_least(
            "outlier",
            outlier_p_value(fitted),
            config.outlier_p_value_pass,
            None,
            f"The week of {_farthest_week(fitted)} lies far from what the model expects: state what happened as a "
            "control (an event, an outage), or set mmm.noise to student_t.",
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
    data, media = fitted.data, media_of(fitted.data)
    silent = fitted.effect_contraction > config.contraction_max
    total = data.spend.sum()
    silent_share = float(data.spend[:, silent].sum() / total) if total > 0 else 1.0
    named = ", ".join(name for name, flag in zip(data.channels, silent, strict=True) if flag)
    n_parameters = 4 * len(data.channels) + fitted.coefficients.shape[1] + fitted.synergy.shape[1] + 1
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
            (name for i, name in enumerate(data.channels) if _is_constant(media[:, i])),
            "spend that varies from week to week",
            "What never changes cannot be measured; these figures are the prior's. Vary the spend or test.",
        ),
        none_of(
            "monthly_spend",
            _monthly(data.channels, media, config.repeated_week_fraction_pass),
            "weekly spend as it ran",
            "Spend stays the same from week to week, as if monthly totals had been spread: load daily or weekly spend.",
        ),
        none_of(
            "alike_channels",
            _alike(data.channels, media, config.correlation_pass),
            f"spends correlated by at most {config.correlation_pass:g}",
            "Only the sum of such a pair is known, not its split: join them, or test one.",
        ),
        none_of(
            "entangled_channels",
            (f"{one} ~ {other}" for one, other, _ in entangled(fitted, config.entangled_pass)),
            f"effects correlated by no less than -{config.entangled_pass:g} in the posterior",
            "What one gains the other loses: a lift test on "
            + " or ".join(dict.fromkeys(test for *_, test in entangled(fitted, config.entangled_pass)))
            + " would separate them.",
        ),
        at_least(
            "weeks_per_parameter",
            data.n_weeks / n_parameters,
            config.weeks_per_parameter_pass,
            None,
            f"{data.n_weeks} weeks for {n_parameters} parameters: priors carry much of the answer. Add history, or "
            "join small channels.",
        ),
        none_of("lift_tests", fitted.notes, "every lift test and belief to be used", "Correct it, or leave it out."),
        *_exposure_checks(data),
        *_interaction_checks(fitted),
    )


def _exposure_checks(data: MMMData) -> tuple[Check, ...]:
    """Only of a model that reads a channel by its impressions or clicks."""
    if not data.exposure:
        return ()
    advice = (
        "Curves and marginal ROAS are in money at the cost of the last 13 weeks: read them for today only, and load "
        "impressions or clicks for every week with spend."
    )
    expected = (
        f"a cost per impression or click within {COST_MOVED:g} times of today's, exposure wherever there is spend"
    )
    return (none_of("unit_cost", moved_costs(data), expected, advice),)


def _interaction_checks(fitted: FittedMMM) -> tuple[Check, ...]:
    """Only of a model with interactions."""
    if not fitted.synergy.shape[1]:
        return ()
    falls = (steady_ceiling(fitted) < 0).mean(axis=0) > FALLING_MAX
    named = (name for name, flag in zip(fitted.data.channels, falls, strict=True) if flag)
    advice = (
        "Its pair is said to do harm together: test one while the other is dark, or lower mmm.priors.interaction_sd."
    )
    return (none_of("falling_curve", named, "more spend to bring more KPI, partners as they are", advice),)


def residual_memory_p_value(fitted: FittedMMM) -> float:
    """Posterior predictive probability that independent noise is as alike from week to week as the residuals are.

    Compares the lag-1 autocorrelation of the residuals, draw by draw, with that of fresh noise. In (0, 1].

    Sources: Gelman et al., Bayesian Data Analysis, 3rd ed., section 6.3.
    """
    residual = residuals(fitted)
    fresh = np.random.default_rng([fitted.config.seed, 4]).standard_normal(residual.shape)
    exceeding = int((_lag_one(fresh) >= _lag_one(residual)).sum())
    return (exceeding + 1) / (fitted.n_draws + 1)


def outlier_p_value(fitted: FittedMMM) -> float:
    """Posterior predictive probability that noise alone puts some week as far out as the farthest one is. In (0, 1].

    Sources: Gelman et al., Bayesian Data Analysis, 3rd ed., section 6.3.
    """
    residual = residuals(fitted)
    fresh = noise(fitted, fitted.data.n_weeks, np.random.default_rng([fitted.config.seed, 6]))
    exceeding = int((np.abs(fresh).max(axis=1) >= np.abs(residual).max(axis=1)).sum())
    return (exceeding + 1) / (fitted.n_draws + 1)


def _farthest_week(fitted: FittedMMM) -> np.datetime64:
    miss = np.abs(residuals(fitted).mean(axis=0))
    return np.datetime64(fitted.data.week_start[int(miss.argmax())], "D")


def entangled(fitted: FittedMMM, limit: float) -> list[tuple[str, str, str]]:
    """Pairs of channels whose contributions are negatively correlated beyond `limit`, with the one to test.

    To test is the one whose contribution is less certain: knowing it settles more of the pair's split.
    """
    total = contributions(fitted).sum(axis=1)
    ran = np.flatnonzero(total.std(axis=0) > 0)
    names, correlation = fitted.data.channels, np.atleast_2d(np.corrcoef(total[:, ran].T))
    return [
        (names[i], names[j], names[i] if total[:, i].std() >= total[:, j].std() else names[j])
        for at, i in enumerate(ran)
        for to, j in enumerate(ran)
        if at < to and correlation[at, to] < -limit
    ]


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
