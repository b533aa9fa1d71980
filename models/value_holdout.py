"""How well values that were expected of customers met what those customers were worth later.

A mean must be right in total, in every tenth of the customers, and in order. Mean absolute error alone is a trap where
most customers are worth nothing: it is least for the median, so that a model which expects too little of everybody
looks good. It is therefore judged at equal totals, and the total by itself.

Sources: Gneiting (2011), JASA 106, on the error that belongs to a mean or a median; Breiman et al. (1984),
"Classification and regression trees", section 3.4.3, for the rule of one standard error.
"""

from dataclasses import asdict, dataclass

import numpy as np
import polars as pl
from scipy.stats import rankdata

from models.btyd import Floats

DECILES = 10


@dataclass(frozen=True, kw_only=True)
class HoldoutScore:
    """Scores of one candidate on customers whose outcome it had not seen.

    `bias_fraction` is expected over actual total less one (NaN where nothing came), `mae` in company currency,
    `mae_equal_totals` after scaling the expected to the actual total, `spearman` in [-1, 1] (0 for constant values),
    `decile_error_fraction` the sum over tenths of |expected - actual| in units of the actual total,
    `coverage_fraction` the share inside the 90 % interval (NaN without one).
    """

    customers: int
    actual_total: float
    expected_total: float
    bias_fraction: float
    mae: float
    mae_equal_totals: float
    spearman: float
    decile_error_fraction: float
    coverage_fraction: float = float("nan")


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which candidate serves, with one sentence why."""

    winner: str
    reason: str


def score(actual: Floats, expected: Floats, low: Floats | None = None, high: Floats | None = None) -> HoldoutScore:
    """Score `expected` against `actual`, both shape (n,), n >= 1, finite, company currency."""
    actual, expected = np.asarray(actual, dtype=float), np.asarray(expected, dtype=float)
    if actual.shape != expected.shape or not actual.size:
        raise ValueError(f"shapes are {actual.shape} and {expected.shape}: expected two equal ones with customers")
    total = float(actual.sum())
    gap = deciles(actual, expected).select((pl.col("expected_mean") - pl.col("actual_mean")) * pl.col("customers"))
    covered = float("nan")
    if low is not None and high is not None:
        covered = float(np.mean((actual >= low) & (actual <= high)))
    nothing = total <= 0.0
    return HoldoutScore(
        customers=actual.size,
        actual_total=total,
        expected_total=float(expected.sum()),
        bias_fraction=float("nan") if nothing else float(expected.sum()) / total - 1.0,
        mae=float(np.mean(np.abs(expected - actual))),
        mae_equal_totals=float(np.mean(_errors_at_equal_totals(actual, expected))),
        spearman=_spearman(actual, expected),
        decile_error_fraction=float("nan") if nothing else float(gap.to_series().abs().sum()) / total,
        coverage_fraction=covered,
    )


def deciles(actual: Floats, expected: Floats) -> pl.DataFrame:
    """Tenths of the customers by expected value: decile 1 (least) to 10, customers, expected_mean, actual_mean.

    Customers with equal expectations share their mean outcome, so that their order decides nothing. Fewer than ten
    customers make fewer groups.
    """
    frame = pl.DataFrame({"expected": np.asarray(expected, dtype=float), "actual": np.asarray(actual, dtype=float)})
    frame = frame.with_columns(pl.col("actual").mean().over("expected")).sort("expected")
    place = np.arange(len(frame)) * min(DECILES, len(frame)) // max(len(frame), 1) + 1
    return (
        frame.with_columns(decile=pl.Series(place, dtype=pl.Int64))
        .group_by("decile", maintain_order=True)
        .agg(customers=pl.len(), expected_mean=pl.col("expected").mean(), actual_mean=pl.col("actual").mean())
    )


def choose(actual: Floats, candidates: dict[str, Floats], bias_max: float) -> Choice:
    """The candidate that serves; `candidates` are in order of simplicity, the simplest first.

    1. Candidates whose total is off by more than `bias_max` are out; if all are, those within half of it of the
       best total stay in.
    2. Of the rest the least mean absolute error at equal totals is found.
    3. The simplest whose error is within one standard error of that (paired by customer) wins.
    """
    if not candidates:
        raise ValueError("candidates is empty: expected at least one")
    total = float(np.sum(actual))
    if total <= 0.0:
        name = next(iter(candidates))
        return Choice(winner=name, reason=f"{name}: no later customer was worth anything, so that none can be judged.")
    bias = {name: abs(float(np.sum(expected)) / total - 1.0) for name, expected in candidates.items()}
    least = min(bias.values())
    allowed = bias_max if least <= bias_max else least + bias_max / 2.0
    errors = {
        name: _errors_at_equal_totals(np.asarray(actual, dtype=float), np.asarray(expected, dtype=float))
        for name, expected in candidates.items()
        if bias[name] <= allowed
    }
    best = min(errors, key=lambda name: float(errors[name].mean()))
    name = next(name for name, error in errors.items() if _is_tied(error, errors[best]))
    told = ", ".join(f"{other} {float(error.mean()):.4g}" for other, error in errors.items())
    out = ", ".join(f"{other} {bias[other]:.0%}" for other in candidates if other not in errors)
    tied = f" (a tie with {best}: the simpler serves)" if name != best else ""
    left = f"; out for a total off by {out}" if out else ""
    return Choice(winner=name, reason=f"{name}{tied}: error per customer at equal totals {told}{left}.")


def score_rows(scores: HoldoutScore, actual: Floats, expected: Floats) -> pl.DataFrame:
    """A row with the scores (decile 0) and one per tenth, as ``out.value_holdout`` keeps them."""
    whole = pl.DataFrame([{"decile": 0, **asdict(scores)}]).with_columns(
        expected_mean=pl.col("expected_total") / pl.col("customers"),
        actual_mean=pl.col("actual_total") / pl.col("customers"),
    )
    tenths = deciles(actual, expected).with_columns(
        pl.col("customers").cast(pl.Int64),
        expected_total=pl.col("expected_mean") * pl.col("customers"),
        actual_total=pl.col("actual_mean") * pl.col("customers"),
    )
    return pl.concat([whole, tenths], how="diagonal").with_columns(pl.selectors.float().fill_nan(None))


def _is_tied(error: Floats, best: Floats) -> bool:
    """Whether the mean error is within one standard error of the best one's, paired by customer."""
    worse = error - best
    noise = float(worse.std(ddof=1)) / np.sqrt(worse.size) if worse.size > 1 else float("inf")
    return bool(worse.mean() <= noise)


def _errors_at_equal_totals(actual: Floats, expected: Floats) -> Floats:
    total = float(expected.sum())
    factor = float(actual.sum()) / total if total > 0.0 and actual.sum() > 0.0 else 1.0
    return np.abs(factor * expected - actual)


def _spearman(actual: Floats, expected: Floats) -> float:
    if np.ptp(actual) == 0.0 or np.ptp(expected) == 0.0:
        return 0.0
    return float(np.corrcoef(rankdata(actual), rankdata(expected))[0, 1])
