"""Whether bids that people or algorithms set went with demand: then what clicks did is not what the bid did."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

WEEK = 7


@dataclass(frozen=True, kw_only=True)
class DemandConfig:
    """When bids count as following demand."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    weeks_min: int = 8  # fewer give any correlation by chance
    correlation_min: float = 0.4  # below it the bids have mostly other reasons
    z_min: float = 2.5  # of Fisher's transform: one false alarm in a hundred and fifty channels

    def __post_init__(self) -> None:
        if self.weeks_min < 4:
            raise ValueError(f"weeks_min is {self.weeks_min}: expected at least 4")
        if not 0.0 < self.correlation_min < 1.0:
            raise ValueError(f"correlation_min is {self.correlation_min}: expected a number inside (0, 1)")
        if not self.z_min > 0.0:
            raise ValueError(f"z_min is {self.z_min}: expected a number above 0")


def follows_demand(
    clicks: FloatArray,
    log_bid: FloatArray,
    keyword: IntArray,
    day: IntArray,
    randomised: NDArray[np.bool_],
    elasticity: FloatArray,
    config: DemandConfig,
) -> float | None:
    """Correlation over weeks of set bids with demand, where it is beyond doubt; else None.

    A week's demand is its clicks over those that its bids explain; its bid the mean of log bids that were set, less
    each keyword's mean of them.

    Parameters
    ----------
    clicks : (n,) >= 0. log_bid : (n,). keyword : (n,) numbers from 0. day : (n,) day numbers.
    elasticity : (n,) of each row's keyword.

    Sources: Fisher (1921), "On the probable error of a coefficient of correlation", Metron 1, 3-32.
    """
    explained = np.exp(elasticity * log_bid)
    level = np.bincount(keyword, weights=clicks) / np.maximum(np.bincount(keyword, weights=explained), 1e-300)
    weeks, week = np.unique(day // WEEK, return_inverse=True)
    expected = np.bincount(week, weights=level[keyword] * explained, minlength=len(weeks))
    demand = np.bincount(week, weights=clicks, minlength=len(weeks)) / np.maximum(expected, 1e-300)
    was_set = ~randomised
    count_k = np.maximum(np.bincount(keyword[was_set], minlength=len(level)), 1)
    mean_k = np.bincount(keyword[was_set], weights=log_bid[was_set], minlength=len(level)) / count_k
    count_w = np.bincount(week[was_set], minlength=len(weeks))
    moved = np.bincount(week[was_set], weights=(log_bid - mean_k[keyword])[was_set], minlength=len(weeks))
    both = (count_w > 0) & (demand > 0)
    if int(both.sum()) < config.weeks_min:
        return None
    bid, wanted = moved[both] / count_w[both], np.log(demand[both])
    if bid.std() < 1e-9 or wanted.std() < 1e-9:
        return None
    seen = float(np.clip(np.corrcoef(bid, wanted)[0, 1], -1.0, 1.0))
    z = np.arctanh(min(seen, 1 - 1e-12)) * np.sqrt(int(both.sum()) - 3)
    return seen if seen >= config.correlation_min and z >= config.z_min else None
