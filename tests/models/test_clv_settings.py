"""A fit is used as it was made, and is as sure as the customers it has seen."""

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from models import clv, clv_fit
from models.clv import CLVConfig
from models.clv_fit import fit_purchases
from tests.models.clv_shop import shop


def test_the_unit_of_time_of_the_fit_is_the_one_that_counts() -> None:
    """A champion fitted in weeks may be read under settings that say days: histories and horizon stay in weeks."""
    rfm, _ = shop(2000, 3)
    fitted = clv.fit(rfm, CLVConfig())
    assert_frame_equal(clv.predict(fitted, rfm, CLVConfig(time_unit_days=1.0)), clv.predict(fitted, rfm, CLVConfig()))


def test_a_penalised_fit_of_some_customers_is_as_sure_as_those_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """lifetimes is given every k-th history only: a quarter of the customers know half as well."""
    rfm, _ = shop(8000, 4)
    x, recency, age = (rfm[name].cast(pl.Float64).to_numpy() for name in ("frequency", "recency_days", "age_days"))
    group = {"all": (x, recency / 7.0, age / 7.0, np.ones(x.size))}

    def errors(rows: int) -> np.ndarray:
        monkeypatch.setattr(clv_fit, "PENALISED_ROWS", rows)
        covariance = fit_purchases(group, 30, 0.001).covariance
        assert covariance is not None
        return np.sqrt(np.diag(covariance))

    np.testing.assert_allclose(errors(2000) / errors(8000), 2.0, rtol=0.3)


def test_a_pooled_rate_says_how_well_it_is_known() -> None:
    """One rate from n orders is known to 1 / sqrt(n) of itself: the interval of a young shop is not the narrowest."""
    rfm, _ = shop(40, 5)
    young = clv.fit(rfm, CLVConfig(repeaters_min=10_000))
    assert young.purchases.method == "pooled_rate"
    assert young.purchases.covariance is not None
    orders = float(rfm["frequency"].sum())
    assert young.purchases.covariance[1][1] == pytest.approx(1.0 / (orders + 0.5))
    assert clv.channel_value(young, rfm, CLVConfig())["error_parameters"].null_count() > 0  # of spend nobody knows
