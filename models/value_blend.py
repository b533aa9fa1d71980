"""Lifetime model, trees, or their mixture: which expects best what customers are worth, judged on later ones.

The three candidates see the same histories up to the same cut-offs. Trees are trained on cut-offs whose whole horizon
was over before the judged customers' cut-offs began; the mixture's weight comes from predictions of training customers
that the trees had not seen. The winner (`models.value_holdout.choose`) is fitted once more on all cut-offs whose
horizon is over, and serves.

Sources: Wolpert (1992), Neural Networks 5, and Breiman (1996), Machine Learning 24, for stacking with weights that are
not negative; Tashman (2000), International Journal of Forecasting 16, for rolling origins.
"""

from dataclasses import dataclass, field, replace
from datetime import date
from math import isnan
from typing import Any, ClassVar

import numpy as np
import polars as pl

from models import clv
from models import value_booster as trees
from models.btyd import Floats
from models.value_booster import BoosterConfig, FittedBooster
from models.value_features import KEY, cutoffs_at, features, histories, targets
from models.value_holdout import HoldoutScore, choose, score, score_rows

BTYD, ML, STACK = "btyd", "ml", "stack"  # in order of simplicity
TINY = 1e-9


@dataclass(frozen=True, kw_only=True)
class BlendConfig:
    """How the candidates are judged."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    early_days: tuple[int, ...] = (0, 7, 30)  # after the first order: at once, after a week, after a month
    origins: int = 3  # cut-offs of existing customers: one is judged, the earlier ones train
    horizon_days_min: int = 14  # a shorter one says nothing of a year
    customers_max: int = 100_000  # evenly taken from more, to train and to judge: scores then stand to half a per cent
    judged_min: int = 200  # customers: fewer do not tell candidates apart, and carry no interval
    bias_max: float = 0.10  # of the total, beyond which a candidate does not serve
    coverage_review: tuple[float, float] = (0.85, 0.95)  # of the 90 % interval on later customers, outside: REVIEW
    booster: BoosterConfig = field(default_factory=BoosterConfig)

    def __post_init__(self) -> None:
        if not self.early_days or any(day < 0 for day in self.early_days):
            raise ValueError(f"early_days is {self.early_days}: expected at least one day of at least 0")
        if list(self.early_days) != sorted(set(self.early_days)):
            raise ValueError(f"early_days is {self.early_days}: expected increasing days")
        if self.origins < 2:
            raise ValueError(f"origins is {self.origins}: expected at least 2, one to train and one to judge")
        if self.horizon_days_min < 1:
            raise ValueError(f"horizon_days_min is {self.horizon_days_min}: expected at least 1")
        if self.customers_max < 1000:
            raise ValueError(f"customers_max is {self.customers_max}: expected at least 1000")
        if self.judged_min < 10:
            raise ValueError(f"judged_min is {self.judged_min}: expected at least 10")
        low, high = self.coverage_review
        if not 0.0 <= low < high <= 1.0:
            raise ValueError(f"coverage_review is {self.coverage_review}: expected two increasing fractions")
        if not self.bias_max > 0.0:
            raise ValueError(f"bias_max is {self.bias_max}: expected a number above 0")


@dataclass(frozen=True, kw_only=True)
class Fold:
    """Cut-offs of one group of customers, parted in time.

    `train` are over before `judge` begins (`judge_origin`, where the lifetime model is fitted); `serve` are all whose
    `horizon_days` are over.
    """

    group: str
    horizon_days: int
    judge_origin: date
    train: tuple[pl.DataFrame, ...]
    judge: pl.DataFrame
    serve: tuple[pl.DataFrame, ...]


@dataclass(frozen=True, kw_only=True)
class FittedBlend:
    """The served candidate of a group; `weight` is the trees' part, 0 for the lifetime model alone, 1 for trees alone.

    `scores` by candidate, and of the one that serves once more as ``served`` with its coverage.
    """

    group: str
    winner: str
    weight: float
    horizon_days: int
    booster: FittedBooster | None
    scores: dict[str, HoldoutScore]
    reasons: tuple[str, ...]


def fit(
    fold: Fold, firsts: pl.DataFrame, days: pl.DataFrame, config: BlendConfig, lifetimes: clv.CLVConfig, seed: int
) -> tuple[FittedBlend, pl.DataFrame]:
    """Judge the candidates on the fold, refit the winner; return it with its rows of ``out.value_holdout``.

    Parameters
    ----------
    firsts, days : as `models.value_features.features` reads them.
    lifetimes : how the lifetime model is fitted at each origin.

    Without enough customers to train or judge the lifetime model serves, with the reason.
    """
    train = [_Known.of(part, firsts, days, fold.horizon_days, lifetimes) for part in fold.train if len(part)]
    if not train:
        return _lifetimes_serve(fold, "no cut-off has its whole horizon behind it"), pl.DataFrame()
    if len(fold.judge) < config.judged_min:
        few = f"{len(fold.judge)} later customers can judge and {config.judged_min} are needed"
        return _lifetimes_serve(fold, few), pl.DataFrame()
    seen = _Known.join(train)
    judged_booster = trees.fit(seen.table, seen.target, config.booster, seed)
    if judged_booster is None:
        few = f"{len(seen.table)} training customers, {int((seen.target > 0).sum())} of them worth something"
        return _lifetimes_serve(fold, f"{few}, are too few for trees"), pl.DataFrame()
    judge = _Known.of(fold.judge, firsts, days, fold.horizon_days, lifetimes, fold.judge_origin)
    expected = {BTYD: judge.btyd, ML: trees.predict_mean(judged_booster, judge.table)}
    weight = _stack_weight(seen, config, seed)
    expected[STACK] = weight * expected[ML] + (1.0 - weight) * expected[BTYD]
    choice = choose(judge.target, expected, config.bias_max)
    scores = {name: score(judge.target, values) for name, values in expected.items()}
    served = expected[choice.winner]
    half = np.arange(len(served)) % 2 == 0 if judge.is_one_day else _earlier_half(judge.table)
    trial = trees.calibrate(judged_booster, judge.table.filter(half), served[half], judge.target[half])
    low, high = trees.predict_interval(trial, judge.table.filter(~half), served[~half])
    checked = score(judge.target[~half], served[~half], low, high) if (~half).any() else scores[choice.winner]
    scores["served"] = replace(scores[choice.winner], coverage_fraction=checked.coverage_fraction)

    needed = lifetimes if choice.winner == STACK else None
    over = [_Known.of(part, firsts, days, fold.horizon_days, needed) for part in fold.serve if len(part)]
    known = _Known.join(over)
    booster = trees.fit(known.table, known.target, config.booster, seed)
    if booster is None:  # cannot be: serve holds train
        return _lifetimes_serve(fold, "too few customers for trees"), pl.DataFrame()
    fixed = {BTYD: 0.0, ML: 1.0}
    calibrated = trees.calibrate(judged_booster, judge.table, served, judge.target)
    fitted = FittedBlend(
        group=fold.group,
        winner=choice.winner,
        weight=fixed[choice.winner] if choice.winner in fixed else _stack_weight(known, config, seed),
        horizon_days=fold.horizon_days,
        booster=replace(booster, shift=calibrated.shift),
        scores=scores,
        reasons=(f"{fold.group}: {choice.reason}",),
    )
    stamp = {"group": fold.group, "horizon_days": fold.horizon_days, "judged_from": fold.judge_origin}
    rows = [
        score_rows(scores[name], judge.target, values).select(
            *(pl.lit(value).alias(column) for column, value in stamp.items()),
            pl.lit(name).alias("candidate"),
            pl.lit(name == choice.winner).alias("is_served"),
            pl.all(),
        )
        for name, values in expected.items()
    ]
    coverage = pl.when((pl.col("candidate") == choice.winner) & (pl.col("decile") == 0)).then(checked.coverage_fraction)
    return fitted, pl.concat(rows).with_columns(coverage_fraction=coverage)


def predict(fitted: FittedBlend, lifetimes: clv.FittedCLV, table: pl.DataFrame, config: clv.CLVConfig) -> pl.DataFrame:
    """Value of each row of `table` over the horizon of `config` from its cut-off on.

    Trees know `fitted.horizon_days`; what the horizon holds beyond (and any discount) is the ratio by which the
    lifetime model's mean, and each end of its interval, grows for the same customer. Where the lifetime model's mean
    serves, its interval is still that of the trees, which was calibrated; without trees it is the lifetime model's own.

    Returns
    -------
    customer_id, cutoff_date, value_mean, value_p05, value_p95 (0 <= p05 <= p95, a 90 % interval of what the customer
    will spend), method; rows as in `table`.
    """
    past = histories(table)
    valued = _valued(lifetimes, past, config)
    mean, low, high = valued
    if fitted.booster is not None:
        near = _valued(lifetimes, past, replace(config, horizon_days=fitted.horizon_days, discount_rate_annual=0.0))
        expected = fitted.weight * trees.predict_mean(fitted.booster, table) + (1.0 - fitted.weight) * near[0]
        low, high = trees.predict_interval(fitted.booster, table, expected)
        longest = max(config.horizon_days / fitted.horizon_days, 1.0)
        growths = [_growth(far, close, longest) for far, close in zip(valued, near, strict=True)]
        grow = [
            np.where(np.isnan(end), np.nan_to_num(growths[0], nan=1.0), end) for end in growths
        ]  # an end that is 0 tells nothing of its growth
        mean, low, high = expected * grow[0], low * grow[1], high * grow[2]
        low, high = np.minimum(np.minimum(low, high), mean), np.maximum(high, mean)  # the mean may be another model's
    return table.select(
        *KEY,
        pl.Series("value_mean", mean, dtype=pl.Float64),
        pl.Series("value_p05", low, dtype=pl.Float64),
        pl.Series("value_p95", high, dtype=pl.Float64),
        pl.lit(lifetimes.method if fitted.winner == BTYD else fitted.winner).alias("method"),
    )


@dataclass(frozen=True, kw_only=True)
class _Known:
    """Cut-offs with features, what came, and what the lifetime model of the time expected; (n,) each."""

    table: pl.DataFrame
    target: Floats
    btyd: Floats

    @classmethod
    def of(
        cls,
        cutoffs: pl.DataFrame,
        firsts: pl.DataFrame,
        days: pl.DataFrame,
        horizon_days: int,
        config: clv.CLVConfig | None,
        origin: date | None = None,
    ) -> "_Known":
        """Look at the cut-offs as they were; the lifetime model knows what was known at `origin`, else at the last.

        Without its config the lifetime model is left out, and `btyd` is zero.
        """
        table = features(firsts, days, cutoffs)
        came = table.select(*KEY).join(
            targets(days, cutoffs, horizon_days), on=list(KEY), how="left", maintain_order="left"
        )
        last = cutoffs["cutoff_date"].max()
        at = origin or (last if isinstance(last, date) else None)
        if at is None or config is None:
            return cls(table=table, target=came["target"].to_numpy(), btyd=np.zeros(len(table)))
        fitted = clv.fit(histories(features(firsts, days, cutoffs_at(firsts, at))), config)
        return cls(table=table, target=came["target"].to_numpy(), btyd=_window(fitted, table, horizon_days))

    @classmethod
    def join(cls, parts: "list[_Known]") -> "_Known":
        return cls(
            table=pl.concat([part.table for part in parts]),
            target=np.concatenate([part.target for part in parts]),
            btyd=np.concatenate([part.btyd for part in parts]),
        )

    @property
    def is_one_day(self) -> bool:
        return self.table["cutoff_date"].n_unique() == 1


def _valued(fitted: clv.FittedCLV, past: pl.DataFrame, config: clv.CLVConfig) -> tuple[Floats, Floats, Floats]:
    """Mean and both ends of the interval of the lifetime model."""
    valued = clv.predict(fitted, past, config)
    return valued["clv_mean"].to_numpy(), valued["clv_p05"].to_numpy(), valued["clv_p95"].to_numpy()


def _growth(far: Floats, near: Floats, longest: float) -> Floats:
    """How many times the near horizon's value the far one's is, at most `longest`; NaN where the near one is 0."""
    ratio = np.divide(far, near, out=np.full_like(far, np.nan), where=near > TINY)
    return np.clip(ratio, 0.0, longest)


def _window(fitted: clv.FittedCLV, table: pl.DataFrame, window_days: int) -> Floats:
    return clv.expected_window(fitted, histories(table), window_days)["expected_value"].to_numpy()


def _earlier_half(table: pl.DataFrame) -> np.ndarray:
    """The rows whose cut-off is before the middle one: intervals are calibrated on them and judged on the later."""
    day = table["cutoff_date"].to_numpy()
    return np.asarray(day < np.sort(day)[len(day) // 2])


def _stack_weight(known: _Known, config: BlendConfig, seed: int) -> float:
    """The trees' weight in [0, 1] that fits the training customers best, each predicted by trees that had not seen it.

    Both are first scaled to the actual total: the weight says which tells customers apart. Squares are weighted by
    the inverse of the mean expected, as the spread of a value grows with it.
    """
    place = known.table["customer_id"].rank("dense").to_numpy() % 2
    unseen = np.zeros(len(place))
    for fold in (0, 1):
        mine = place == fold
        other = trees.fit(known.table.filter(~mine), known.target[~mine], config.booster, seed, with_interval=False)
        if other is None:
            return 0.0
        unseen[mine] = trees.predict_mean(other, known.table.filter(mine))
    total = known.target.sum()
    if total <= 0.0 or known.btyd.sum() <= 0.0:
        return 0.0
    ml, btyd = unseen * total / unseen.sum(), known.btyd * total / known.btyd.sum()
    inverse = 1.0 / (0.5 * (ml + btyd) + known.target.mean() * 0.01)  # a hundredth of the mean keeps zeros finite
    gap = ml - btyd
    spread = float(np.sum(inverse * gap**2))
    return float(np.clip(np.sum(inverse * gap * (known.target - btyd)) / spread, 0.0, 1.0)) if spread > 0.0 else 0.0


def _lifetimes_serve(fold: Fold, why: str) -> FittedBlend:
    return FittedBlend(
        group=fold.group,
        winner=BTYD,
        weight=0.0,
        horizon_days=fold.horizon_days,
        booster=None,
        scores={},
        reasons=(f"{fold.group}: the lifetime model serves, {why}.",),
    )


def to_dict(fitted: FittedBlend) -> dict[str, Any]:
    """Plain data from which `from_dict` makes an equal object."""
    booster = None if fitted.booster is None else trees.to_dict(fitted.booster)
    scores = {name: {key: _or_none(value) for key, value in vars(s).items()} for name, s in fitted.scores.items()}
    return vars(fitted) | {"booster": booster, "scores": scores}


def from_dict(data: dict[str, Any]) -> FittedBlend:
    """Inverse of `to_dict`, also after a trip through JSON."""
    booster = None if data["booster"] is None else trees.from_dict(data["booster"])
    scores = {}
    for name, values in data["scores"].items():
        known: dict[str, Any] = {key: float("nan") if value is None else value for key, value in values.items()}
        scores[name] = HoldoutScore(**known)
    return FittedBlend(**(data | {"booster": booster, "scores": scores, "reasons": tuple(data["reasons"])}))


def _or_none(value: float) -> float | None:
    return None if isnan(value) else value  # JSON has no NaN
