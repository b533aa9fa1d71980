"""Settings of the mix model: sampler, linear part, priors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

Adstock = Literal["geometric", "delayed", "weibull_pdf", "weibull_cdf"]
Saturation = Literal["hill", "michaelis_menten", "logistic", "s_shape"]
Order = Literal["adstock_first", "saturation_first"]
Noise = Literal["normal", "student_t"]
Link = Literal["identity", "log"]
MediaVariable = Literal["impressions", "clicks"]
Backend = Literal["numba", "jax"]


@dataclass(frozen=True, kw_only=True)
class RoasPrior:
    """What is known of a channel's ROAS over the fitted weeks before they are looked at, KPI per unit of money.

    From an earlier study or a benchmark; never from the weeks that are fitted, which would count them twice.
    """

    median: float
    log_sd: float = 0.5  # 90 % within a factor 2.3

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 < value < float("inf"):
                raise ValueError(f"roas prior: {name} is {value}; expected above 0")

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}


@dataclass(frozen=True, kw_only=True)
class MMMPriors:
    """Priors in units that fit any company: KPI means, mean weekly spends.

    Each media parameter has a normal prior on a scale without bounds; medians and log (logit) standard deviations
    are given here. `effect` is a channel's mean weekly contribution as a share of the mean KPI; its median is
    `media_share` times the channel's share of spend, so that a median channel returns what media return overall. How
    much media return overall is as uncertain as `media_share_log_sd` says, for all channels alike: those the data
    speak about teach the others.
    """

    media_share: float = 0.2  # all media together, share of KPI; published models mostly lie in 0.05-0.6
    media_share_log_sd: float = 0.7  # 90 % within 0.06-0.63
    effect_log_sd: float = 0.7  # 90 % of the channels' ROAS within a factor 3.2 of the overall one
    half_saturation_median: float = 1.2  # in mean spends: most channels run near where returns begin to fall
    half_saturation_log_sd: float = 0.6  # 90 % within 0.45-3.2 mean spends
    slope_median: float = 1.3  # a little above 1, the concave case
    slope_log_sd: float = 0.4  # 90 % within 0.7-2.5: S-shapes are possible, 3 is at 2.1 sd
    decay_median: float = 0.4  # share carried to the next week; search ~0.1, television ~0.7
    decay_logit_sd: float = 0.9  # 90 % within 0.13-0.75
    peak_median_weeks: float = 1.0  # of the delayed carry-over: most effects peak within the first three weeks
    peak_log_sd: float = 0.6  # 90 % within 0.4-2.7 weeks
    weibull_scale_median_weeks: float = 1.5  # two thirds of an effect within this time
    weibull_scale_log_sd: float = 0.6  # 90 % within 0.6-4 weeks
    weibull_shape_median: float = 1.3  # 1 decays at once, above it rises first
    weibull_shape_log_sd: float = 0.4  # 90 % within 0.7-2.5
    signed_median: float = 0.2  # KPI sds per sd of a control whose sign is believed
    signed_log_sd: float = 1.2  # 90 % within 0.03-1.4
    interaction_sd: float = 0.3  # of what a pair of median channels brings: no synergy without evidence
    noise_median: float = 0.4  # in standard deviations of the KPI
    noise_log_sd: float = 1.0  # from R2 0.99 to 0
    roas: Mapping[str, RoasPrior] = field(default_factory=dict)  # per channel, in place of the share of spend

    def __post_init__(self) -> None:
        for name in ("media_share", "decay_median"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected above 0, below 1")
        for name, value in vars(self).items():
            if name != "roas" and not 0 < value < 100:
                raise ValueError(f"{name} is {value}; expected above 0, below 100")

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}


@dataclass(frozen=True, kw_only=True)
class MMMConfig:
    """How the mix model is built, sampled, scored."""

    chains: int = 2  # one per core of a small machine
    draws: int = 1000  # per chain; every second one is worth an independent one
    tune: int = 500  # steps per chain that find step size and scales, then are thrown away
    seed: int = 1  # of a fit on its own; a run hands in its own seed
    backend: Backend = "numba"  # what computes the density; jax: same posterior, on a CPU 2.5 times slower
    target_accept: float = 0.95  # below, some posteriors diverge
    kept_draws: int = 1000  # draws kept of all chains, evenly thinned
    adstock: Adstock = "geometric"  # how an effect is spread over the weeks after the spend
    saturation: Saturation = "hill"  # concave and S-shaped alike
    order: Order = "adstock_first"  # what carries over: the spend, or the saturated response
    link: Link = "identity"  # log: parts multiply, a channel brings more in a strong week; the KPI must be above 0
    noise: Noise = "normal"  # student_t: an outlying week counts less, at some ten times the sampling time
    integrated: bool = True  # the linear part out of the sampler, exactly; False samples it too, for a check
    control_signs: Mapping[str, Literal["positive", "negative"]] = field(default_factory=dict)  # beliefs
    confounded: tuple[str, ...] | None = None  # channels whose budget follows demand; None: those whose test says so
    drift_per_year: float = 0.2  # sd of the log by which an effect wanders in a year: tests age by it, so does "now"
    varying_weeks: int = 0  # an effect may change that often, by a walk of drift_per_year; 0: constant
    media_variable: Mapping[str, MediaVariable] = field(default_factory=dict)  # channel: impressions or clicks
    interactions: tuple[tuple[str, str], ...] = ()  # pairs of channels that may bring more, or less, together
    max_lag_weeks: int = 8  # at a decay of 0.7 less than 4 % of an effect comes later
    fourier_order: int = 2  # yearly and half-yearly wave
    trend_knot_weeks: int = 26  # the trend may bend twice a year
    trend_flexibility: float = 0.3  # sd of a bend, in standard deviations of the KPI per sd of time
    holdout_weeks: int = 0  # last weeks kept out of a scoring fit
    priors: MMMPriors = field(default_factory=MMMPriors)

    def __post_init__(self) -> None:
        bounds = {
            "chains": (2, 16),  # R-hat compares chains
            "draws": (100, 100_000),
            "tune": (100, 100_000),
            "seed": (0, 2**63 - 1),
            "kept_draws": (100, 100_000),
            "max_lag_weeks": (0, 52),
            "fourier_order": (0, 10),
            "trend_knot_weeks": (4, 10_000),
            "trend_flexibility": (0.0, 10.0),
            "holdout_weeks": (0, 520),
            "drift_per_year": (0.0, 5.0),
            "varying_weeks": (0, 520),
        }
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} is {value}; expected {low} to {high}")
        if self.link == "log" and self.noise == "student_t":  # exp of Student's t has no mean
            raise ValueError(
                "link log with noise student_t has no expected KPI; expected noise normal or link identity"
            )
        pairs = [frozenset(pair) for pair in self.interactions]
        if any(len(pair) < 2 for pair in pairs) or len(set(pairs)) < len(pairs):
            raise ValueError(f"interactions is {self.interactions}; expected pairs of two channels, each pair once")
        if self.varying_weeks and self.interactions:
            raise ValueError("varying_weeks with interactions: what a pair brings would change with both; expected one")
        if not 0.5 <= self.target_accept < 1:
            raise ValueError(f"target_accept is {self.target_accept}; expected 0.5 to below 1")

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
