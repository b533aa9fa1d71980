"""Probability that a click converts, from what is known when it happens.

Two models, a penalised logistic regression and gradient boosted trees, learn from earlier days, are calibrated on the
days after them and are judged on the days after those; the better one serves, moved on by one block. A click counts by
the share of its conversions that can have been seen by now (`models.conversion_delay`), so that recent days do not look
poor.

Sources: McMahan et al. (2013), "Ad click prediction: a view from the trenches", KDD (judged on later days, calibrated).
"""

import json
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from typing import Any, ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.conversion_delay import DelayConfig, FittedDelay, fit_delay, observed_fraction, to_dict
from models.conversion_features import CATEGORIES_MOST, Vocabulary, cells, codes, distinct, effects, one_hot, vocabulary
from models.conversion_scores import TINY, fit_logistic, fit_sigmoid, log_odds, scores, sigmoid
from models.conversion_spread import mean_spread, spread_weights
from models.conversion_trees import TreesConfig, additions, boost, margins

Floats = NDArray[np.float64]

MODELS = ("logistic", "xgboost")
CONSTANT = "constant"  # one rate for all clicks: what stands in where a model has nothing to learn from
BLOCK_DAYS_MIN = 2  # of each of the three blocks: one day alone may be a holiday
LINES = {
    "campaign": ["channel", "campaign"],
    "keyword": ["channel", "campaign", "keyword"],
}  # what clicks are valued by
RECENT_DAYS = 14  # the days whose rate the delay correction changes most, told side by side
MORE_LIKELY = 0.5  # of a conversion and of a click, added where none was seen (Jeffreys)


@dataclass(frozen=True, kw_only=True)
class ConversionConfig:
    """How the conversion model is fitted, judged and used."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    delay: DelayConfig = field(default_factory=DelayConfig)
    conversions_min: int = 100  # of the training days; fewer do not tell one campaign from another
    clicks_min: int = 200  # of a value to have an effect of its own: at a rate of 1 % two conversions
    categories_max: int = 200  # of one feature; the rest is taken together
    calibrate_fraction: float = 0.2  # of the days, after the training days
    test_fraction: float = 0.2  # of the days, the last ones
    ridge: float = 10.0  # of each effect, in conversions' worth of information; best of 1 to 30 on demo seeds >= 100
    trees: TreesConfig = field(default_factory=TreesConfig)
    ece_max: float = 0.02  # calibration error beyond which a person should look
    value_days: int = 28  # clicks of the last four weeks say what a click is worth today

    def __post_init__(self) -> None:
        for name in ("conversions_min", "clicks_min", "categories_max", "value_days"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: expected at least 1")
        if self.categories_max > CATEGORIES_MOST:
            raise ValueError(f"categories_max is {self.categories_max}: expected at most {CATEGORIES_MOST}")
        for name in ("calibrate_fraction", "test_fraction"):
            if not 0.0 < getattr(self, name) < 1.0:
                raise ValueError(f"{name} is {getattr(self, name)}: expected a fraction inside (0, 1)")
        if self.calibrate_fraction + self.test_fraction > 0.8:
            raise ValueError(
                "calibrate_fraction + test_fraction is above 0.8: expected a fifth of the days for training"
            )
        for name in ("ridge", "ece_max"):
            if not getattr(self, name) > 0.0:
                raise ValueError(f"{name} is {getattr(self, name)}: expected a number above 0")


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Both models as learnt from the same days; `sigmoid` holds intercept and slope of each one's calibration."""

    known: Vocabulary
    coefficients: tuple[float, ...]
    booster: str  # xgboost's own JSON
    sigmoid: dict[str, tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class FittedConversion:
    """What serves: `method` names the model, or `CONSTANT`; verdict PASS or REVIEW, each reason one sentence.

    Attributes
    ----------
    base_rate : conversions a click over all days, in (0, 1).
    spread : of campaigns and of keywords, weights of the spreads of true rates about predictions
        (`conversion_spread.spread_weights`), from held-out days.
    held_out : scores of each model on the last days, none of which it had seen; empty where there were too few days.
    """

    method: str
    candidates: Candidates | None
    base_rate: float
    spread: dict[str, tuple[float, ...]]
    held_out: dict[str, dict[str, float]]
    split: dict[str, str]
    recent: dict[str, float]
    delay: FittedDelay
    clicks: int
    conversions: int
    reasons: tuple[str, ...]

    @property
    def learnt_to(self) -> date:
        """Last day whose conversions have shaped the effects of the model that serves."""
        return date.fromisoformat(self.split["calibrate"]) if self.candidates else date.min

    @property
    def verdict(self) -> str:
        """PASS, or REVIEW where there is a reason to look."""
        return "REVIEW" if self.reasons else "PASS"


def fit(frame: pl.DataFrame, delays: pl.DataFrame, as_of: date, config: ConversionConfig) -> FittedConversion:
    """Fit, calibrate and judge.

    Parameters
    ----------
    frame : cells of clicks: clicked_date, clicks_count, conversions_count (so far, at most the clicks) and any of
        `conversion_features.FEATURES` but weekday; values may be missing.
    delays : conversions by channel, clicked_date and delay_days, as `conversion_delay.fit_delay` reads them.
    as_of : last day that could be seen.
    """
    rows = cells(frame.filter(pl.col("clicked_date") <= as_of))
    delay = fit_delay(rows, delays, as_of, config.delay)
    rows = rows.with_columns(fraction=pl.Series(observed_fraction(delay, rows["channel"], rows["clicked_date"])))
    used = rows.filter(pl.col("fraction") > 0.0)
    clicks, conversions = (int(used[name].sum()) for name in ("clicks_count", "conversions_count"))
    reasons = list(delay.reasons)
    blocks = _blocks(used, config)
    method, candidates, held_out = CONSTANT, None, {}
    if lacking := _lacking(used, blocks, config):
        reasons.append(f"{lacking}: every click has the same probability until there are more")
        spread = _spread(used, np.full(len(used), _rate(used)), used.clear())
    else:
        learnt, between, last = (used.filter(pl.col("clicked_date").is_in(days)) for days in blocks)
        judged, told = _candidates(learnt, between, config)
        held_out = {name: _scores(last, probability(judged, name, last)) for name in MODELS}
        held_out[CONSTANT] = _scores(last, np.full(len(last), _rate(pl.concat([learnt, between]))))
        method = min(MODELS, key=lambda name: held_out[name]["log_loss"])  # a tie goes to the simpler one
        spread = _spread(last, probability(judged, method, last), learnt)
        candidates, told_later = _candidates(pl.concat([learnt, between]), last, config)
        reasons += dict.fromkeys([*told, *told_later])
        reasons += _poor(held_out, method, config)
    return FittedConversion(
        method=method,
        candidates=candidates,
        base_rate=_rate(used),
        spread=spread,
        held_out=held_out,
        split={
            name: days[-1].isoformat()
            for name, days in zip(("train", "calibrate", "test"), blocks, strict=True)
            if days
        },
        recent=_recent(used, as_of),
        delay=delay,
        clicks=clicks,
        conversions=conversions,
        reasons=tuple(reasons),
    )


def predict(fitted: FittedConversion, rows: pl.DataFrame) -> Floats:
    """Probability (n,) in (0, 1) that a click of each cell of `conversion_features.cells` ever converts."""
    if fitted.candidates is None:
        return np.full(len(rows), fitted.base_rate)
    return probability(fitted.candidates, fitted.method, rows)


def probability(candidates: Candidates, name: str, rows: pl.DataFrame) -> Floats:
    """Calibrated probability (n,) of one of both models."""
    intercept, slope = candidates.sigmoid[name]
    return sigmoid(intercept + slope * _score(candidates, name, rows))


def contributions(fitted: FittedConversion, frame: pl.DataFrame, as_of: date, config: ConversionConfig) -> pl.DataFrame:
    """What each feature adds to the log odds of the model that serves, over the clicks of the last `value_days`.

    Returns
    -------
    line ("all" or a channel), feature, contribution_abs_mean (>= 0), contribution_mean, both in log odds a click before
    calibration: Shapley values of the trees, of the regression each value's effect against the mean click's. Empty
    where one rate serves for all clicks.
    """
    numbers = dict.fromkeys(("contribution_abs_mean", "contribution_mean"), pl.Float64)
    schema = {"line": pl.String, "feature": pl.String, **numbers}
    rows = cells(frame.filter(pl.col("clicked_date").is_between(as_of - timedelta(days=config.value_days - 1), as_of)))
    if fitted.candidates is None or rows.is_empty() or not fitted.candidates.known.features:
        return pl.DataFrame(schema=schema)
    known = fitted.candidates.known
    coded, kind = distinct(codes(rows, known))
    weight, channel = rows["clicks_count"].to_numpy().astype(float), rows["channel"].to_numpy()
    if fitted.method == "logistic":
        own = effects(coded, known, np.array(fitted.candidates.coefficients))[kind]
        added = own - weight @ own / weight.sum()
    else:
        added = additions(fitted.candidates.booster, coded, known)[kind]
    found = []
    for line in ("all", *sorted(set(channel.tolist()))):
        share = np.where((channel == line) | (line == "all"), weight, 0.0)
        share /= share.sum()
        for position, feature in enumerate(known.features):
            found.append((line, feature, float(share @ np.abs(added[:, position])), float(share @ added[:, position])))
    return pl.DataFrame(found, schema=schema, orient="row")


def metrics(fitted: FittedConversion) -> dict[str, Any]:
    """What ``out.model_run.metrics`` keeps of a fit, ready for JSON; scores that do not exist are absent."""
    return {
        "served": fitted.method,
        "held_out": fitted.held_out,
        "split": fitted.split,
        "recent": fitted.recent,
        "base_rate": fitted.base_rate,
        "spread": {level: mean_spread(weights) for level, weights in fitted.spread.items()},
        "clicks": fitted.clicks,
        "conversions": fitted.conversions,
        "delay": {k: v for k, v in to_dict(fitted.delay).items() if k not in ("share", "channel_share", "reasons")},
        "reasons": list(fitted.reasons),
    }


def to_json(fitted: FittedConversion) -> str:
    """Text from which `from_json` makes an equal object; the delay is estimated anew each day and not part of it."""
    plain = asdict(fitted) | {"delay": None}
    return json.dumps(plain, indent=1, sort_keys=True)


def from_json(text: str, delay: FittedDelay) -> FittedConversion:
    """Inverse of `to_json`, with today's delay."""
    data = json.loads(text)
    if (kept := data["candidates"]) is not None:
        data["candidates"] = Candidates(
            known=Vocabulary(values={name: tuple(values) for name, values in kept["known"]["values"].items()}),
            coefficients=tuple(kept["coefficients"]),
            booster=kept["booster"],
            sigmoid={name: (line[0], line[1]) for name, line in kept["sigmoid"].items()},
        )
    spread = {level: tuple(weights) for level, weights in data["spread"].items()}
    return FittedConversion(**(data | {"delay": delay, "spread": spread, "reasons": tuple(data["reasons"])}))


def _blocks(used: pl.DataFrame, config: ConversionConfig) -> tuple[list[date], list[date], list[date]]:
    """Days to learn from, to calibrate on and to judge on, in order of time."""
    days = used["clicked_date"].unique().sort().to_list()
    test = max(round(config.test_fraction * len(days)), BLOCK_DAYS_MIN)
    calibrate = max(round(config.calibrate_fraction * len(days)), BLOCK_DAYS_MIN)
    train = max(len(days) - test - calibrate, 0)
    return days[:train], days[train : train + calibrate], days[train + calibrate :]


def _lacking(used: pl.DataFrame, blocks: tuple[list[date], ...], config: ConversionConfig) -> str:
    """What stands against fitting a model; empty when nothing does."""
    clicks, conversions = int(used["clicks_count"].sum()), int(used["conversions_count"].sum())
    if not clicks:
        return "no click can be used"
    if not conversions:
        return f"none of {clicks} clicks has converted"
    if conversions == clicks:
        return f"all of {clicks} clicks have converted, so that the clicks without a conversion seem to be missing"
    if len(blocks[0]) < BLOCK_DAYS_MIN:
        return f"clicks lie on {sum(map(len, blocks))} days, expected at least {3 * BLOCK_DAYS_MIN} to judge a model"
    learnt = used.filter(pl.col("clicked_date").is_in(blocks[0]))
    came, of = int(learnt["conversions_count"].sum()), int(learnt["clicks_count"].sum())
    if min(came, of - came) < config.conversions_min:
        return (
            f"{came} of {of} clicks of the training days have converted, expected at least {config.conversions_min} "
            "that have and as many that have not"
        )
    return ""


def _candidates(learnt: pl.DataFrame, after: pl.DataFrame, config: ConversionConfig) -> tuple[Candidates, list[str]]:
    """Both models from the cells `learnt`, calibrated on those `after`, and what is to be said of it."""
    known = vocabulary(learnt, config.clicks_min, config.categories_max)
    coded, exposure, came = _merged(codes(learnt, known), learnt)
    base = log_odds(np.array([came.sum() / exposure.sum()]))
    design = one_hot(coded, known)
    start = np.zeros(design.shape[1])
    start[0] = base[0]
    penalty = np.full(design.shape[1], config.ridge)
    penalty[0] = 1e-6  # the intercept is free
    coefficients = fit_logistic(design, exposure, came, start, penalty)
    candidates = Candidates(
        known=known,
        coefficients=tuple(coefficients.tolist()),
        booster=boost(coded, known, exposure, came, float(base[0]), config.trees) if known.features else "",
        sigmoid=dict.fromkeys(MODELS, (0.0, 1.0)),
    )
    n, y, fraction = _counts(after)
    if not 0.0 < y.sum() < n.sum():
        told = "no click" if not n.sum() else "every click" if y.sum() else "no click"
        return candidates, [
            f"{told} of the days kept for calibration has converted: probabilities are as the model gives them"
        ]
    fitted = {name: fit_sigmoid(n * fraction, y, _score(candidates, name, after)) for name in MODELS}
    return Candidates(**{**vars(candidates), "sigmoid": fitted}), []


def _merged(coded: NDArray[np.int64], rows: pl.DataFrame) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Distinct codes (m, features) with exposure and conversions (m,): days with equal features count as one cell."""
    n, y, fraction = _counts(rows)
    if not coded.shape[1]:
        return coded[:1], np.array([n @ fraction]), np.array([y.sum()])
    kept, kind = distinct(coded)
    return kept, np.bincount(kind, n * fraction), np.bincount(kind, y)


def _score(candidates: Candidates, name: str, rows: pl.DataFrame) -> Floats:
    """Log odds (n,) before calibration."""
    coded, kind = distinct(codes(rows, candidates.known))
    if name == "logistic" or not candidates.booster:
        found = np.asarray(one_hot(coded, candidates.known) @ np.array(candidates.coefficients))
    else:
        found = margins(candidates.booster, coded, candidates.known) if len(rows) else np.zeros(0)
    return found[kind]


def _counts(rows: pl.DataFrame) -> tuple[Floats, Floats, Floats]:
    """Clicks, conversions and share of conversions seen, each (n,)."""
    n, y, fraction = (
        rows[name].cast(pl.Float64).to_numpy() for name in ("clicks_count", "conversions_count", "fraction")
    )
    return n, y, fraction


def _scores(rows: pl.DataFrame, p: Floats) -> dict[str, float]:
    return scores(*_counts(rows), p)


def _rate(rows: pl.DataFrame) -> float:
    """Conversions a click with late ones counted in, inside (0, 1)."""
    n, y, fraction = _counts(rows)
    came, of = float(y.sum()), float(n @ fraction)
    return min((came + MORE_LIKELY) / (of + 2 * MORE_LIKELY), 1.0 - MORE_LIKELY / (of + 1.0))


def _spread(rows: pl.DataFrame, p: Floats, learnt: pl.DataFrame) -> dict[str, tuple[float, ...]]:
    """How far the lines of each level lie from their predictions, given what the model had learnt of each.

    Every line counts twice: with its prediction, and as if nothing were known of it, with the rate of its siblings.
    """
    n, y, fraction = _counts(rows)
    counted = rows.select(*LINES["keyword"], n=pl.Series(n * fraction), y=pl.Series(y), due=pl.Series(n * fraction * p))
    found = {}
    for level, keys in LINES.items():
        lines = counted.drop_nulls(keys[2:]).group_by(keys, maintain_order=True).agg(pl.col("n", "y", "due").sum())
        before = learnt.group_by(keys).agg(learnt=pl.col("conversions_count").sum())
        lines = lines.join(before, on=keys, how="left", nulls_equal=True, maintain_order="left").with_columns(
            pl.col("learnt").cast(pl.Float64).fill_null(0.0),
            of=pl.col("n").sum().over(keys[:-1]) - pl.col("n"),
            others=pl.col("y").cast(pl.Float64).sum().over(keys[:-1]) - pl.col("y"),
        )
        known = lines.select("n", "y", "learnt", p=pl.col("due") / pl.col("n").clip(TINY))
        with_siblings = lines.filter(pl.col("of") >= pl.col("n"), pl.col("others") > 0.0)
        unknown = with_siblings.select(
            "n", "y", learnt=pl.lit(0.0), p=pl.col("others") / pl.col("of").clip(pl.col("others"))
        )
        both = pl.concat([known, unknown])
        found[level] = spread_weights(*(both[name].to_numpy() for name in ("n", "y", "p", "learnt")))
    return found


def _recent(used: pl.DataFrame, as_of: date) -> dict[str, float]:
    """The rate of the last days as it was counted and with late conversions, each channel by its clicks."""
    last = used.filter(pl.col("clicked_date") > as_of - timedelta(days=RECENT_DAYS))
    grouped = last.group_by("channel", maintain_order=True).agg(
        n=pl.col("clicks_count").sum(), y=pl.col("conversions_count").sum(),
        seen=(pl.col("clicks_count") * pl.col("fraction")).sum(),
    )  # fmt: skip
    n, y, seen = (grouped[name].cast(pl.Float64).to_numpy() for name in ("n", "y", "seen"))
    if not n.sum():
        return {}
    return {
        "days": RECENT_DAYS,
        "clicks": float(n.sum()),
        "rate_uncorrected": float(y.sum() / n.sum()),
        "rate_corrected": float(n @ (y / seen) / n.sum()),
    }


def _poor(held_out: dict[str, dict[str, float]], method: str, config: ConversionConfig) -> list[str]:
    """What the held-out days say against the model that serves."""
    found, best = [], held_out[method]
    if best["ece"] > config.ece_max:
        found.append(
            f"on the last days predicted and observed rates lie {best['ece']:.3f} apart, "
            f"expected at most {config.ece_max}"
        )
    if best["log_loss"] > held_out[CONSTANT]["log_loss"]:
        found.append("on the last days the model does no better than one rate for all clicks")
    return found
