"""Customer lifetime value from order histories: BG/NBD purchases times Gamma-Gamma spend.

A value is what a customer will spend within the horizon from today on; the past, first order included, is not part
of it.

Sources: Fader, Hardie & Lee (2005), Marketing Science 24(2); Fader, Hardie & Lee (2005) "RFM and CLV", Journal of
Marketing Research 42.
"""

import itertools
import json
import math
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import polars as pl

from models.btyd import Floats, PurchaseParameters, SpendParameters
from models.clv_fit import FittedPurchases, FittedSpend, PurchaseGroup, SpendGroup, fit_purchases, fit_spend
from models.clv_histories import (
    MONEY,
    CustomerHistories,
    as_before,
    purchase_groups,
    read_histories,
    sorted_rows,
    spend_groups,
)
from models.clv_shift import Before, Shift, find_shift
from models.clv_value import ChannelSums, Horizon, parameters_of, value_histories
from models.errors import DataError

TIERS = ("Low", "Medium", "High", "VIP")
CORRELATION_MAX = (
    0.3  # Gamma-Gamma takes order frequency and order value as independent; beyond this they plainly are not
)
Z_90 = 1.6449  # standard errors from the middle to either end of a 90 % interval


@dataclass(frozen=True, kw_only=True)
class CLVConfig:
    """How customer lifetime value is fitted, with the horizon it covers."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    value: Literal["revenue", "margin"] = "revenue"  # revenue is what every shop knows; margin is what pays for media
    horizon_days: int = 365  # a year: the span over which payback on acquisition is usually judged
    discount_rate_annual: float = 0.0  # plain sums, which a holdout can check; 0.10 is usual for horizons beyond a year
    time_unit_days: float = 7.0  # published BG/NBD parameters are per week
    penalizer: float = 0.0  # none: maximum likelihood; 0.001 to 0.1 steadies small data
    repeaters_min: int = 30  # fewer repeat customers cannot carry four parameters
    tier_quantiles: tuple[float, ...] = (0.5, 0.8, 0.95)  # half Low, 30 % Medium, 15 % High, 5 % VIP

    def __post_init__(self) -> None:
        for name, value, low in (
            ("horizon_days", self.horizon_days, 1),
            ("discount_rate_annual", self.discount_rate_annual, 0.0),
            ("penalizer", self.penalizer, 0.0),
            ("repeaters_min", self.repeaters_min, 2),
        ):
            if not value >= low:
                raise ValueError(f"{name} is {value}: expected at least {low}")
        if not self.time_unit_days > 0.0:
            raise ValueError(f"time_unit_days is {self.time_unit_days}: expected a number above 0")
        if self.value not in ("revenue", "margin"):
            raise ValueError(f"value is {self.value!r}: expected revenue or margin")
        bounds = (0.0, *self.tier_quantiles, 1.0)
        if len(self.tier_quantiles) != len(TIERS) - 1 or any(a >= b for a, b in itertools.pairwise(bounds)):
            expected = f"{len(TIERS) - 1} increasing fractions inside (0, 1)"
            raise ValueError(f"tier_quantiles is {self.tier_quantiles}: expected {expected}")


@dataclass(frozen=True, kw_only=True)
class FittedCLV:
    """Both fitted models, with `verdict` PASS or REVIEW; every reason for a REVIEW is one sentence."""

    purchases: FittedPurchases
    spend: FittedSpend
    time_unit_days: float
    customers: int
    repeaters: int
    correlation: float
    value: Literal["revenue", "margin"] = "revenue"
    shift: Shift | None = None

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why a person should look at this fit; empty when nothing stands out."""
        related = (
            f"order frequency and order value correlate ({self.correlation:.2f}): values of frequent buyers are biased"
        )
        return (
            *self.purchases.reasons,
            *self.spend.reasons,
            *((related,) if abs(self.correlation) > CORRELATION_MAX else ()),
            *((self.shift.reason,) if self.shift else ()),
        )

    @property
    def verdict(self) -> str:
        """PASS when both models settled, else REVIEW."""
        return "REVIEW" if self.reasons else "PASS"

    @property
    def method(self) -> str:
        """Name of the two models that were used, e.g. ``bg_nbd+gamma_gamma``."""
        return f"{self.purchases.method}+{self.spend.method}"


@dataclass(frozen=True, kw_only=True)
class Worth:
    """What customers are worth: `customers` as `predict` tells it (named where the histories are), and `channels`."""

    customers: pl.DataFrame
    channels: pl.DataFrame


def fit(rfm: pl.DataFrame, config: CLVConfig) -> FittedCLV:
    """Fit both models.

    Parameters
    ----------
    rfm : one row per customer: frequency (repeat order days, >= 0), recency_days and age_days
        (0 <= recency <= age, recency 0 when frequency is 0), monetary_mean (mean value of a repeat order day, 0 if
        there is none; net refunds count as 0), first_order_date. No nulls. Where they are there: revenue_total;
        margin_mean and margin_total, needed for values in margin; acquisition_channel, whose customers then have
        parameters of their own; frequency_before and recency_before_days, as they stood before the last 56 days (null
        for newer customers), from which a drop of the best customers is told.

    Raises
    ------
    DataError : a column is missing, a value impossible, or there is no customer at all.
    """
    everybody = read_histories(rfm, config.time_unit_days, config.value)
    if not everybody.x.size:
        raise DataError(
            "No customer has an order: expected at least one in the orders table before customer value can be fitted."
        )
    orders = spend_groups(everybody)
    x, mean_spend = (np.concatenate([rows[column] for rows in orders.values()]) for column in range(2))
    average_order, total = 0.0, MONEY[config.value][1]
    if not x.size and total in rfm.columns:
        average_order = math.fsum(rfm[total].cast(pl.Float64).fill_null(0.0)) / math.fsum(everybody.x + 1.0)
    purchases = fit_purchases(purchase_groups(everybody), config.repeaters_min, config.penalizer)
    spend = fit_spend(orders, config.repeaters_min, config.penalizer, average_order)
    shift = _shift(everybody, purchases, spend)
    if shift:
        earlier = fit_purchases(purchase_groups(as_before(everybody)), config.repeaters_min, config.penalizer)
        if again := _shift(everybody, earlier, spend):
            purchases, shift = earlier, again  # the pace from before the drop, and the drop against it
    varied = x.size >= config.repeaters_min and np.ptp(x) > 0 and np.ptp(mean_spend) > 0
    return FittedCLV(
        purchases=purchases,
        spend=spend,
        time_unit_days=config.time_unit_days,
        customers=int(everybody.x.size),
        repeaters=int((everybody.x > 0).sum()),
        correlation=float(np.corrcoef(x, mean_spend)[0, 1]) if varied else 0.0,
        value=config.value,
        shift=shift,
    )


def predict(fitted: FittedCLV, rfm: pl.DataFrame, config: CLVConfig) -> pl.DataFrame:
    """Value of each customer over the horizon, as rows of ``out.customer_value`` in the order of `rfm`.

    `clv_p05` and `clv_p95` bound what one customer will really spend (alive or gone, number of orders, order values),
    with the error of the parameters in it. Most customers of most shops do not order again, so p05 is often 0; for a
    customer who is nearly lost p95 is 0 as well, while the mean is not.
    """
    return worth(fitted, rfm, config).customers


def channel_value(fitted: FittedCLV, rfm: pl.DataFrame, config: CLVConfig) -> pl.DataFrame:
    """Mean value of the customers of each channel with its 90 % interval, by channel.

    Returns
    -------
    channel, customers, clv_mean, clv_p05, clv_p95 and the two parts of the error, as standard errors of the mean:
    error_parameters, which more history would lower (null where a stand-in served whose error nobody knows: the
    interval then lacks it), and error_customers, the luck of so many customers.
    """
    return worth(fitted, rfm, config).channels


def worth(fitted: FittedCLV, rfm: pl.DataFrame, config: CLVConfig) -> Worth:
    """`predict` and `channel_value` in one pass."""
    histories = read_histories(rfm, fitted.time_unit_days, fitted.value)
    horizon = Horizon(
        days=config.horizon_days,
        discount_rate_annual=config.discount_rate_annual,
        time_unit_days=fitted.time_unit_days,
    )
    found = value_histories(fitted.purchases, fitted.spend, fitted.shift, histories, horizon)
    first = pl.col("first_order_date")
    name = ("customer_id",) if "customer_id" in rfm.columns else ()
    customers = rfm.select(
        *name,
        "frequency",
        "recency_days",
        "age_days",
        pl.Series("alive_probability", found.alive),
        pl.Series("expected_orders", found.orders),
        pl.Series("clv_mean", found.mean),
        pl.Series("clv_p05", found.low),
        pl.Series("clv_p95", found.high),
        tiers(found.mean, config.tier_quantiles).alias("tier"),
        pl.format("{}-Q{}", first.dt.year(), first.dt.quarter()).alias("cohort"),
        pl.lit(fitted.method).alias("method"),
    )
    return Worth(customers=customers, channels=_channels(found.channels))


def expected_window(fitted: FittedCLV, rfm: pl.DataFrame, window_days: float) -> pl.DataFrame:
    """Orders and value expected of each customer in the `window_days` after the histories in `rfm` end.

    Returns
    -------
    customer_id, expected_orders, expected_value, undiscounted: what the CLV-drop trigger compares with what came.
    """
    if not window_days > 0:
        raise ValueError(f"window_days is {window_days}: expected a number above 0")
    histories = read_histories(rfm, fitted.time_unit_days, fitted.value)
    horizon = Horizon(days=window_days, discount_rate_annual=0.0, time_unit_days=fitted.time_unit_days)
    found = value_histories(fitted.purchases, fitted.spend, fitted.shift, histories, horizon)
    return rfm.select(
        "customer_id", pl.Series("expected_orders", found.orders), pl.Series("expected_value", found.mean)
    )


def metrics(fitted: FittedCLV) -> dict[str, Any]:
    """What ``out.model_run.metrics`` keeps of a fit, ready for JSON."""
    return {
        "bg_nbd": {**asdict(fitted.purchases.parameters), "log_likelihood": fitted.purchases.log_likelihood},
        "gamma_gamma": {**asdict(fitted.spend.parameters), "log_likelihood": fitted.spend.log_likelihood},
        "method": fitted.method,
        "value": fitted.value,
        "channels": {
            group.name or "other": {"alpha": group.parameters.alpha, "b": group.parameters.b}
            for group in fitted.purchases.groups
        },
        "shift": fitted.shift and asdict(fitted.shift),
        "customers": fitted.customers,
        "repeaters": fitted.repeaters,
        "frequency_value_correlation": fitted.correlation,
        "reasons": list(fitted.reasons),
    }


def to_json(fitted: FittedCLV) -> str:
    """Text from which `from_json` makes an equal object; floats survive bit for bit."""
    return json.dumps(asdict(fitted), indent=1, sort_keys=True)


def from_json(text: str) -> FittedCLV:
    """Inverse of `to_json`."""
    data = json.loads(text)
    for part, fitted, group_of, parameters in (
        ("purchases", FittedPurchases, PurchaseGroup, PurchaseParameters),
        ("spend", FittedSpend, SpendGroup, SpendParameters),
    ):
        fields = data[part]
        for group in (fields, *fields["groups"]):
            group["parameters"] = parameters(**group["parameters"])
            group["covariance"] = group["covariance"] and tuple(tuple(row) for row in group["covariance"])
        fields["reasons"] = tuple(fields["reasons"])
        fields["groups"] = tuple(group_of(**group) for group in fields["groups"])
        data[part] = fitted(**fields)
    data["shift"] = data["shift"] and Shift(**data["shift"])
    return FittedCLV(**data)


def tiers(value: Floats, quantiles: tuple[float, ...]) -> pl.Series:
    """Tier of each value by its place among all; equal values share the lower tier."""
    if not value.size:
        return pl.Series([], dtype=pl.String)
    place = np.searchsorted(np.quantile(value, quantiles), value, side="left").astype(np.uint32)
    return pl.Series(TIERS).gather(place)


def _shift(everybody: CustomerHistories, purchases: FittedPurchases, spend: FittedSpend) -> Shift | None:
    if not np.isfinite(everybody.x_before).any():
        return None
    parts = []
    for name, found in sorted_rows(everybody):
        here = found[np.isfinite(everybody.x_before[found])]
        before = Before(
            x=everybody.x_before[here],
            recency=everybody.recency_before[here],
            age=everybody.age[here] - everybody.window,
            mean_spend=everybody.mean_spend[here],
            orders=everybody.x[here] - everybody.x_before[here],
        )
        parts.append((*parameters_of(purchases, spend, name)[:2], before))
    return find_shift(parts, everybody.window)


def _channels(sums: dict[str, ChannelSums]) -> pl.DataFrame:
    rows = []
    for name, channel in sorted(sums.items()):
        mean = channel.value / channel.customers
        luck = math.sqrt(channel.variance) / channel.customers
        doubt = channel.error / channel.customers
        known = 0.0 if math.isnan(doubt) else doubt
        spread = Z_90 * math.hypot(luck, known) / mean if mean > 0.0 else 0.0
        rows.append(
            {
                "channel": name or None,
                "customers": channel.customers,
                "clv_mean": mean,
                "clv_p05": mean * math.exp(-spread),
                "clv_p95": mean * math.exp(spread),
                "error_parameters": None if math.isnan(doubt) else doubt,
                "error_customers": luck,
            }
        )
    numbers = ("clv_mean", "clv_p05", "clv_p95", "error_parameters", "error_customers")
    schema = {"channel": pl.String, "customers": pl.Int64, **dict.fromkeys(numbers, pl.Float64)}
    return pl.DataFrame(rows, schema=schema)
