"""What a click is worth: probability that it converts times what a conversion brings, with intervals.

A campaign's rate is the model's prediction, moved towards the campaign's own conversions on days that the model has
not learnt from (`models.conversion_spread`). The value of its conversions is pooled: a keyword towards its campaign, a
campaign towards its channel, a channel towards all. A line whose conversions are not known has its parent's value, in
doubt by how far siblings lie apart.

Sources: Gelman et al. (2013), "Bayesian Data Analysis", 3rd ed., section 5.4 (normal hierarchy);
DerSimonian & Laird (1986), Controlled Clinical Trials 7, 177-188 (spread between groups, closed form).
"""

from datetime import date, timedelta
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import ndtri

from models.conversion import LINES, MORE_LIKELY, ConversionConfig, FittedConversion, predict
from models.conversion_delay import observed_fraction
from models.conversion_features import cells
from models.conversion_spread import INTERVAL, updated

Floats = NDArray[np.float64]
Basis = Literal["revenue", "margin"]

SUMS = ("valued_count", "value_sum", "value_square_sum", "known_count", "new_customers_count")
GROUP_MIN = 10  # conversions of known value in a group before it tells how far groups differ
VALUED_MIN = 2  # conversions of known value: one does not show how values spread
MONEY = {"revenue": ("value_sum", "value_square_sum"), "margin": ("margin_sum", "margin_square_sum")}
SPREAD_USUAL = 1.0  # relative, of order values, where too few are known; that of an exponential distribution
BETWEEN_USUAL = 0.25  # relative, of siblings' mean values, where no two tell: apart by a quarter
PRIOR_DEGREES = 2.0  # siblings' worth of belief in that: two say little against a dozen that tell
ROOT = "all"  # the level above channels
FIGURES = (
    "conversion_probability", "conversion_probability_p05", "conversion_probability_p95",
    "value_per_conversion", "value_per_conversion_p05", "value_per_conversion_p95",
    "value_per_click", "value_per_click_p05", "value_per_click_p95",
)  # fmt: skip


def click_value(
    fitted: FittedConversion,
    frame: pl.DataFrame,
    order_value: pl.DataFrame,
    as_of: date,
    config: ConversionConfig,
    *,
    level: str = "campaign",
    new_customer_value: pl.DataFrame | None = None,
    basis: Basis = "revenue",
) -> pl.DataFrame:
    """Rows of ``out.click_value``, one for each campaign of a channel, or of ``out.keyword_value``.

    Parameters
    ----------
    fitted : with the delay as of today.
    frame : cells of clicks as `conversion.fit` reads them. Each line is valued on its clicks of the last `value_days`;
        one that had none there, on all its clicks.
    order_value : channel, campaign, keyword and `SUMS`: counts and sums of its conversions; values in company currency.
        In margin, margin_sum and margin_square_sum stand for those of value.
    level : "campaign" or "keyword"; clicks without a campaign are a line of their own, those without a keyword none.
    new_customer_value : channel, campaign, clv_mean, clv_p05, clv_p95 in company currency, where it is known. A new
        customer is then worth this and not the order; a row without a campaign holds for the rest of its channel.
    basis : what conversions are worth, revenue or margin; that in which `new_customer_value` is.

    Returns
    -------
    The line's keys; `FIGURES`, probabilities in [0, 1] and values of at least 0, with the interval of each; clicks and
    conversions behind them; new_customer_share, null where no customer is known; method; basis. Values are null where
    no conversion anywhere has a known one.
    """
    if level not in LINES:
        raise ValueError(f"level is {level!r}: expected one of {', '.join(LINES)}")
    rows = cells(frame.filter(pl.col("clicked_date") <= as_of))
    rows = rows.with_columns(
        fraction=pl.Series(observed_fraction(fitted.delay, rows["channel"], rows["clicked_date"]), dtype=pl.Float64),
        p=pl.Series(predict(fitted, rows), dtype=pl.Float64),
        is_recent=pl.col("clicked_date") > as_of - timedelta(days=config.value_days),
        is_news=pl.col("clicked_date") > fitted.learnt_to,
    )
    keys = LINES[level]
    lines = _probabilities(_lines(rows.drop_nulls(keys[2:]), keys), fitted, level)
    worth = dict(zip(SUMS[1:3], MONEY[basis], strict=True))
    lines = _with_products(_with_values(lines, keys, order_value.with_columns(**worth), new_customer_value))
    labels = pl.lit(fitted.method).alias("method"), pl.lit(basis).alias("basis")
    return lines.select(*keys, *FIGURES, "clicks", "conversions", "new_customer_share", *labels)


def _lines(rows: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Each line's clicks, conversions and mean prediction, and what came of clicks the model did not learn from."""
    any_recent = pl.col("is_recent").any().over(keys)
    used = rows.filter(pl.col("is_recent") | ~any_recent)
    clicks = pl.col("clicks_count").cast(pl.Float64)
    is_news = pl.col("is_news") & (pl.col("fraction") > 0.0)
    before = rows.filter(~pl.col("is_news")).group_by(keys).agg(learnt=pl.col("conversions_count").sum())
    lines = used.group_by(keys, maintain_order=True).agg(
        clicks=pl.col("clicks_count").sum(),
        conversions=pl.col("conversions_count").sum(),
        came=pl.col("conversions_count").filter(is_news).sum().cast(pl.Float64),
        exposure=(clicks * pl.col("fraction")).filter(is_news).sum(),
        prior=(clicks * pl.col("p")).sum() / clicks.sum(),
    )
    return lines.join(before, on=keys, how="left", nulls_equal=True, maintain_order="left")


def _probabilities(lines: pl.DataFrame, fitted: FittedConversion, level: str) -> pl.DataFrame:
    """Mean and interval of each line's rate: a beta prior, and on top the conversions that the prior does not know.

    The prior is the model's prediction or, where there is no model, the rate of all other lines.
    """
    prior, came, exposure = (lines[name].to_numpy() for name in ("prior", "came", "exposure"))
    learnt = lines["learnt"].cast(pl.Float64).fill_null(0.0).to_numpy()
    most = None
    if fitted.candidates is None:
        most = float(exposure.sum()) - exposure + 2 * MORE_LIKELY
        prior = (float(came.sum()) - came + MORE_LIKELY) / np.maximum(most, float(came.sum()) - came + 2 * MORE_LIKELY)
    mean, spread, low, high = updated(prior, learnt, exposure, came, fitted.spread[level], most)
    return lines.with_columns(
        conversion_probability=pl.Series(mean, dtype=pl.Float64),
        conversion_probability_p05=pl.Series(low, dtype=pl.Float64),
        conversion_probability_p95=pl.Series(high, dtype=pl.Float64),
        p_spread=pl.Series(spread, dtype=pl.Float64),
    )


def _with_values(
    lines: pl.DataFrame, keys: list[str], sums: pl.DataFrame, new_value: pl.DataFrame | None
) -> pl.DataFrame:
    """Mean and relative spread of what a conversion of each line brings."""
    sums = sums.select(pl.col("channel", "campaign", "keyword").cast(pl.String), pl.col(SUMS).cast(pl.Float64)).sort(
        "channel", "campaign", "keyword", nulls_last=True
    )
    total = sums.select(pl.col(SUMS).sum())
    if total["valued_count"].item() == 0.0:
        nothing = pl.lit(None, pl.Float64)
        return lines.with_columns(value_mean=nothing, value_spread=nothing, new_customer_share=_share(lines, sums))
    spread = _relative_spread(total)
    everywhere = total["value_sum"].item() / total["valued_count"].item()
    levels, sums = [ROOT, *keys], sums.with_columns(pl.lit(0).alias(ROOT))
    parents = pl.DataFrame(
        {ROOT: 0, "mean": everywhere, "variance": (spread * everywhere) ** 2 / total["valued_count"].item()},
        schema_overrides={ROOT: pl.Int32},
    )
    found = lines.with_columns(pl.lit(0).alias(ROOT)).join(parents, on=ROOT, how="left", maintain_order="left")
    for depth in range(2, len(levels) + 1):  # channel, campaign, keyword: the last level that has conversions tells
        above, level = levels[: depth - 1], levels[:depth]
        prior = parents.rename({"mean": "parent_mean", "variance": "parent_variance"})
        groups = _grouped(sums.drop_nulls(level[3:]), level)
        groups = groups.join(prior, on=above, how="left", nulls_equal=True, maintain_order="left")
        parents, apart = _pooled(groups, level, spread, (BETWEEN_USUAL * everywhere) ** 2)
        n = pl.col("n")
        few = groups.group_by(above, maintain_order=True).agg(few=(n**2).sum() / n.sum() ** 2)  # 1 where there is one
        found = found.join(parents, on=level, how="left", nulls_equal=True, suffix="_own", maintain_order="left")
        found = found.join(few, on=above, how="left", nulls_equal=True, maintain_order="left")
        unknown = pl.col("variance") + apart * (1.0 + pl.col("few").fill_null(0.0))  # of the line, and of their mean
        found = found.with_columns(
            mean=pl.coalesce("mean_own", "mean"), variance=pl.coalesce("variance_own", unknown)
        ).drop("mean_own", "variance_own", "few")
    found = found.with_columns(new_customer_share=_share(lines, sums))
    if new_value is not None and not new_value.is_empty():
        found = _with_customers(found, new_value)
    relative = pl.col("variance").sqrt() / pl.col("mean")
    return found.with_columns(
        value_mean=pl.col("mean").clip(lower_bound=0.0),  # a click that costs margin is worth no bid
        value_spread=pl.when(pl.col("mean") > 0.0).then(relative).otherwise(0.0),
    )


def _relative_spread(total: pl.DataFrame) -> float:
    """Standard deviation of conversion values over their mean."""
    n, of, square = (float(total[name].item()) for name in ("valued_count", "value_sum", "value_square_sum"))
    if n < VALUED_MIN or of <= 0.0:
        return SPREAD_USUAL
    return max(float(np.sqrt(max((square - of * of / n) / (n - 1.0), 0.0))) / (of / n), 1e-6)


def _grouped(sums: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Number and mean of known values of each group that has any."""
    grouped = sums.group_by(keys, maintain_order=True).agg(
        n=pl.col("valued_count").sum(), value=pl.col("value_sum").sum()
    )
    return grouped.filter(pl.col("n") > 0).with_columns(own=pl.col("value") / pl.col("n"))


def _pooled(groups: pl.DataFrame, keys: list[str], spread: float, usual: float) -> tuple[pl.DataFrame, float]:
    """Keys, mean and variance of each group's mean value, drawn towards its parent's; the variance of an unseen one.

    A group's own mean has the variance (spread * parent's mean)^2 / n: the relative spread of all values, as single
    groups are too small to show theirs. The variance of true means within a parent is `usual` where no parent has two
    groups that tell. That of an unseen group holds the doubt of it too, as the mean of the posterior does under a
    scaled inverse chi-squared prior of `PRIOR_DEGREES` at `usual`.
    """
    own, n, mean, variance = (groups[name].to_numpy() for name in ("own", "n", "parent_mean", "parent_variance"))
    noise = np.maximum((spread * mean) ** 2 / n, 1e-12)
    between, degrees = _between(groups.with_columns(w=pl.Series(1.0 / noise, dtype=pl.Float64)), keys[:-1])
    apart = between + PRIOR_DEGREES * usual / degrees if degrees else usual
    between = between if degrees else usual
    weight = between / (between + noise)
    pooled = groups.select(
        *keys,
        mean=pl.Series(mean + weight * (own - mean), dtype=pl.Float64),
        variance=pl.Series(weight * noise + (1.0 - weight) ** 2 * variance, dtype=pl.Float64),
    )
    return pooled, apart


def _between(groups: pl.DataFrame, above: list[str]) -> tuple[float, int]:
    """Variance of true group means within their parents, at least 0, and the degrees of freedom that tell of it.

    Parameters
    ----------
    groups : n conversions and their mean `own` of each group, w the inverse variance of that mean.
    """
    own, w = pl.col("own"), pl.col("w")
    told = groups.filter(pl.col("n") >= GROUP_MIN).group_by(above, maintain_order=True)
    each = told.agg(
        degrees=pl.len().cast(pl.Int64) - 1,
        excess=(w * (own - (w * own).sum() / w.sum()) ** 2).sum(),
        scale=w.sum() - (w**2).sum() / w.sum(),
    ).filter(pl.col("degrees") > 0)
    degrees = int(each["degrees"].sum())
    if not degrees:
        return 0.0, 0
    return max((float(each["excess"].sum()) - degrees) / float(each["scale"].sum()), 0.0), degrees


def _share(lines: pl.DataFrame, sums: pl.DataFrame) -> pl.Series:
    """Share of a line's conversions by new customers, drawn towards its channel's and all; null where unknown."""
    known, fresh = float(sums["known_count"].sum()), float(sums["new_customers_count"].sum())
    if known == 0.0:
        return pl.Series([None] * len(lines), dtype=pl.Float64)
    share = lines.select("channel", "campaign").with_columns(share=pl.lit(fresh / known))
    for keys in (["channel"], ["channel", "campaign"]):
        grouped = sums.group_by(keys, maintain_order=True).agg(
            known=pl.col("known_count").sum(), fresh=pl.col("new_customers_count").sum()
        )
        share = (
            share.join(grouped, on=keys, how="left", nulls_equal=True, maintain_order="left")
            .with_columns(
                share=(pl.col("fresh").fill_null(0) + 10.0 * pl.col("share")) / (pl.col("known").fill_null(0) + 10.0)
            )
            .drop("known", "fresh")
        )  # ten conversions' worth of what is known one level up
    return share["share"]


def _with_customers(lines: pl.DataFrame, new_value: pl.DataFrame) -> pl.DataFrame:
    """A conversion as its mix: new customers at their lifetime value, the others at the order's value."""
    width = float(ndtri(INTERVAL[1]) - ndtri(INTERVAL[0]))
    named = new_value.select(
        pl.col("channel", "campaign").cast(pl.String),
        clv="clv_mean",
        clv_sd=(pl.col("clv_p95") - pl.col("clv_p05")) / width,
    )
    channel = (
        named.filter(pl.col("campaign").is_null()).drop("campaign").unique("channel", keep="first", maintain_order=True)
    )
    exact = named.drop_nulls("campaign").unique(["channel", "campaign"], keep="first", maintain_order=True)
    joined = lines.join(exact, on=["channel", "campaign"], how="left", maintain_order="left")
    joined = joined.join(channel, on="channel", how="left", suffix="_channel", maintain_order="left")
    clv, sd = (pl.coalesce(name, f"{name}_channel") for name in ("clv", "clv_sd"))
    share = pl.col("new_customer_share")
    known = clv.is_not_null() & share.is_not_null()
    return joined.with_columns(
        mean=pl.when(known).then(share * clv + (1.0 - share) * pl.col("mean")).otherwise("mean"),
        variance=pl.when(known)
        .then((share * sd.fill_null(0.0)) ** 2 + (1.0 - share) ** 2 * pl.col("variance"))
        .otherwise("variance"),
    )


def _with_products(lines: pl.DataFrame) -> pl.DataFrame:
    """Value per click, with the log-normal interval that has the product's mean and variance."""
    p, p_spread = pl.col("conversion_probability"), pl.col("p_spread")
    value, value_spread = pl.col("value_mean"), pl.col("value_spread")
    both = ((1.0 + p_spread**2) * (1.0 + value_spread**2) - 1.0).sqrt()
    low, high = (float(ndtri(q)) for q in INTERVAL)
    return lines.with_columns(
        value_per_conversion=value,
        value_per_conversion_p05=_log_normal(value, value_spread, low),
        value_per_conversion_p95=_log_normal(value, value_spread, high),
        value_per_click=p * value,
        value_per_click_p05=_log_normal(p * value, both, low),
        value_per_click_p95=_log_normal(p * value, both, high),
    )


def _log_normal(mean: pl.Expr, spread: pl.Expr, z: float) -> pl.Expr:
    """Quantile at normal score `z` of the log-normal distribution of this mean and coefficient of variation."""
    variance = (1.0 + spread**2).log()
    return mean * (z * variance.sqrt() - 0.5 * variance).exp()
