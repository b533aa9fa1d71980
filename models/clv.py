"""Customer lifetime value from order histories: BG/NBD purchases times Gamma-Gamma spend.

A value is what a customer will spend within the horizon from today on; the past, first order included, is not part
of it.

Sources: Fader, Hardie & Lee (2005), Marketing Science 24(2); Fader, Hardie & Lee (2005) "RFM and CLV", Journal of
Marketing Research 42.
"""

import itertools
import json
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import polars as pl

from models.btyd import (
    Floats,
    PurchaseParameters,
    SpendParameters,
    alive_probability,
    expected_orders_if_alive,
    expected_spend,
)
from models.clv_fit import FittedPurchases, FittedSpend, fit_purchases, fit_spend
from models.clv_spread import value_quantiles
from models.errors import DataError

COLUMNS = ("customer_id", "frequency", "recency_days", "age_days", "monetary_mean", "first_order_date")
TIERS = ("Low", "Medium", "High", "VIP")
YEAR_DAYS = 365.25  # mean length of a calendar year
DISCOUNT_STEP_DAYS = 30  # about a month; a year at 10 % differs from continuous discounting by 1e-5
INTERVAL = (0.05, 0.95)  # the interval of every output table
CORRELATION_MAX = (
    0.3  # Gamma-Gamma takes order frequency and order value as independent; beyond this they plainly are not
)


@dataclass(frozen=True, kw_only=True)
class CLVConfig:
    """How customer lifetime value is fitted, with the horizon it covers."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

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
        )

    @property
    def verdict(self) -> str:
        """PASS when both models settled, else REVIEW."""
        return "REVIEW" if self.reasons else "PASS"

    @property
    def method(self) -> str:
        """Name of the two models that were used, e.g. ``bg_nbd+gamma_gamma``."""
        return f"{self.purchases.method}+{self.spend.method}"


def fit(rfm: pl.DataFrame, config: CLVConfig) -> FittedCLV:
    """Fit both models.

    Parameters
    ----------
    rfm : one row per customer: frequency (repeat order days, >= 0), recency_days and age_days (0 <= recency <= age,
        recency 0 when frequency is 0), monetary_mean (mean value of a repeat order day, 0 if there is none; net refunds
        count as 0), first_order_date, and revenue_total where present. No nulls.

    Raises
    ------
    DataError : a column is missing, a value impossible, or there is no customer at all.
    """
    by_history = rfm.sort(pl.col(COLUMNS[1:5])) if set(COLUMNS) <= set(rfm.columns) else rfm
    x, recency, age, mean_spend = _histories(
        by_history, config.time_unit_days
    )  # rows in any order sum to the same bits
    if not x.size:
        raise DataError(
            "No customer has an order: expected at least one in the orders table before customer value can be fitted."
        )
    average_order = 0.0
    if "revenue_total" in rfm.columns:
        average_order = float(rfm["revenue_total"].cast(pl.Float64).sum()) / float(np.sum(x + 1.0))
    repeat = (x > 0) & (mean_spend > 0.0)
    varied = repeat.sum() >= config.repeaters_min and np.ptp(x[repeat]) > 0 and np.ptp(mean_spend[repeat]) > 0
    return FittedCLV(
        purchases=fit_purchases(x, recency, age, config.repeaters_min, config.penalizer),
        spend=fit_spend(x, mean_spend, config.repeaters_min, config.penalizer, average_order),
        time_unit_days=config.time_unit_days,
        customers=int(x.size),
        repeaters=int((x > 0).sum()),
        correlation=float(np.corrcoef(x[repeat], mean_spend[repeat])[0, 1]) if varied else 0.0,
    )


def predict(fitted: FittedCLV, rfm: pl.DataFrame, config: CLVConfig) -> pl.DataFrame:
    """Value of each customer over the horizon, as rows of ``out.customer_value`` in the order of `rfm`.

    `clv_p05` and `clv_p95` bound what one customer will really spend (alive or gone, number of orders, order values),
    at the fitted parameters. Most customers of most shops do not order again, so p05 is often 0; for a customer who is
    nearly lost p95 is 0 as well, while the mean is not.
    """
    x, recency, age, mean_spend = _histories(rfm, fitted.time_unit_days)
    purchase, spend = fitted.purchases.parameters, fitted.spend.parameters
    alive = alive_probability(purchase, x, recency, age)
    orders, discounted = _orders_if_alive(purchase, x, age, config, fitted.time_unit_days)
    value = alive * discounted * expected_spend(spend, x, mean_spend)
    quantiles = value_quantiles(
        purchase, spend, config.horizon_days / fitted.time_unit_days, x, recency, age, mean_spend, INTERVAL
    )
    quantiles *= np.divide(discounted, orders, out=np.ones_like(orders), where=orders > 0.0)
    first = pl.col("first_order_date")
    return rfm.select(
        "customer_id",
        "frequency",
        "recency_days",
        "age_days",
        pl.Series("alive_probability", alive),
        pl.Series("expected_orders", alive * orders),
        pl.Series("clv_mean", value),
        pl.Series("clv_p05", quantiles[0]),
        pl.Series("clv_p95", quantiles[1]),
        pl.Series("tier", _tiers(value, config.tier_quantiles)),
        pl.format("{}-Q{}", first.dt.year(), first.dt.quarter()).alias("cohort"),
        pl.lit(fitted.method).alias("method"),
    )


def expected_window(fitted: FittedCLV, rfm: pl.DataFrame, window_days: float) -> pl.DataFrame:
    """Orders and value expected of each customer in the `window_days` after the histories in `rfm` end.

    Returns
    -------
    customer_id, expected_orders, expected_value, undiscounted: what the CLV-drop trigger compares with what came.
    """
    if not window_days > 0:
        raise ValueError(f"window_days is {window_days}: expected a number above 0")
    x, recency, age, mean_spend = _histories(rfm, fitted.time_unit_days)
    purchase = fitted.purchases.parameters
    orders = alive_probability(purchase, x, recency, age)
    orders *= expected_orders_if_alive(purchase, window_days / fitted.time_unit_days, x, age)
    value = orders * expected_spend(fitted.spend.parameters, x, mean_spend)
    return rfm.select("customer_id", pl.Series("expected_orders", orders), pl.Series("expected_value", value))


def metrics(fitted: FittedCLV) -> dict[str, Any]:
    """What ``out.model_run.metrics`` keeps of a fit, ready for JSON."""
    return {
        "bg_nbd": {**asdict(fitted.purchases.parameters), "log_likelihood": fitted.purchases.log_likelihood},
        "gamma_gamma": {**asdict(fitted.spend.parameters), "log_likelihood": fitted.spend.log_likelihood},
        "method": fitted.method,
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
    for part, fitted, parameters in (
        ("purchases", FittedPurchases, PurchaseParameters),
        ("spend", FittedSpend, SpendParameters),
    ):
        fields = data[part]
        fields["parameters"] = parameters(**fields["parameters"])
        fields["reasons"] = tuple(fields["reasons"])
        fields["covariance"] = fields["covariance"] and tuple(tuple(row) for row in fields["covariance"])
        data[part] = fitted(**fields)
    return FittedCLV(**data)


def _histories(rfm: pl.DataFrame, time_unit_days: float) -> tuple[Floats, Floats, Floats, Floats]:
    """Frequency, recency and age in time units, mean spend, each (n,); raises `DataError` listing every breach."""
    missing = [name for name in COLUMNS if name not in rfm.columns]
    if missing:
        raise DataError(f"Customer histories lack {', '.join(missing)}: expected the columns {', '.join(COLUMNS)}.")
    x, recency, age, mean_spend = (rfm[name].cast(pl.Float64).to_numpy() for name in COLUMNS[1:5])
    breaches = {
        "a missing number or first order date": ~np.isfinite(x + recency + age + mean_spend)
        | rfm["first_order_date"].is_null().to_numpy(),
        "a frequency that is no whole number of at least 0": (x < 0) | (x != np.floor(x)),
        "a last order before the first or after the end of the data": (recency < 0) | (recency > age),
        "a last order apart from the first, without a repeat": (x == 0) & (recency != 0),
    }
    found = [f"{int(rows.sum())} with {what}" for what, rows in breaches.items() if rows.any()]
    if found:
        raise DataError(
            f"Of {x.size} customer histories {'; '.join(found)}. Repair or quarantine these rows, then run again."
        )
    return (
        x,
        recency / time_unit_days,
        age / time_unit_days,
        np.maximum(mean_spend, 0.0),
    )  # net refunds count as no value


def _orders_if_alive(
    purchase: PurchaseParameters, x: Floats, age: Floats, config: CLVConfig, time_unit_days: float
) -> tuple[Floats, Floats]:
    """Expected orders within the horizon given alive, plain and discounted; worked once per (x, age)."""
    pairs, row = np.unique(x + 1j * age, return_inverse=True)
    x, age = pairs.real, pairs.imag
    orders = expected_orders_if_alive(purchase, config.horizon_days / time_unit_days, x, age)
    if config.discount_rate_annual == 0.0:
        return orders[row], orders[row]
    steps = np.append(np.arange(DISCOUNT_STEP_DAYS, config.horizon_days, DISCOUNT_STEP_DAYS), config.horizon_days)
    discounted, before, start = np.zeros_like(orders), np.zeros_like(orders), 0.0
    for end in steps.astype(float):
        upto = expected_orders_if_alive(purchase, end / time_unit_days, x, age)
        discounted += (upto - before) * (1.0 + config.discount_rate_annual) ** (-0.5 * (start + end) / YEAR_DAYS)
        before, start = upto, end
    return orders[row], discounted[row]


def _tiers(value: Floats, quantiles: tuple[float, ...]) -> list[str]:
    """Tier of each value by its place among all; equal values share the lower tier."""
    if not value.size:
        return []
    return np.array(TIERS)[np.searchsorted(np.quantile(value, quantiles), value, side="left")].tolist()
