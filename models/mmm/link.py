"""The scale on which the parts of the mix model add: the KPI's own, or its logarithm.

With a log link every part multiplies: a channel lifts a strong week by more KPI than a weak one, and
KPI = exp(linear part + media + noise). What removing each channel alone takes then sums to more than what
removing all takes. Contributions here follow the logarithmic mean: the KPI that all media bring together is split in
proportion to what each adds to the logarithm,

    contribution_c = m_c * (E - B) / log(E / B),   E the expected KPI, B that without any media, log(E / B) = sum of m.

Of a single channel it is what removing it takes. Of several, none below 0, it lies between what a channel adds to the
baseline alone and what removing it alone takes; the parts add up in every week, with pairs of negative synergy too.

Sources: Ang (2004), "Decomposition analysis for policymaking in energy: which is the preferred method?", LMDI I.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.errors import DataError
from models.mmm.config import MMMConfig
from models.mmm.data import MMMData

Array = NDArray[np.float64]
SMALL = 1e-8  # below it (e^x - 1) / x is 1 to the last digits


def link_kpi(data: MMMData, config: MMMConfig) -> Array:
    """The KPI (n_weeks,) on the scale on which its parts add.

    Raises
    ------
    DataError : a log link where some week's KPI is not above 0.
    """
    if config.link == "identity":
        return data.kpi
    if (low := np.flatnonzero(data.kpi <= 0)).size:
        raise DataError(
            f"mmm.link is log, but the KPI is {data.kpi[low[0]]:g} in the week of {data.week_start[low[0]]} "
            f"({len(low)} weeks at 0 or below).\nA logarithm needs a KPI above 0: correct those weeks or use identity."
        )
    return np.asarray(np.log(data.kpi))


def centre_and_scale(data: MMMData, config: MMMConfig) -> tuple[float, float]:
    """What is taken off the KPI on its link's scale, what it is divided by, before it is fitted."""
    if config.link == "identity":
        return 0.0, float(np.abs(data.kpi).mean())
    return float(link_kpi(data, config).mean()), 1.0


def kpi_parts(base: Array, media: Array, noise_sd: Array) -> tuple[Array, Array]:
    """Expected baseline (n_draws, n_weeks), contributions (n_draws, n_weeks, n_channels) in KPI units of a log link.

    base, media are on the log scale; noise_sd (n_draws,) raises the mean of a lognormal by exp(sd^2 / 2).
    """
    total = media.sum(axis=2)
    safe = np.where(np.abs(total) > SMALL, total, 1.0)
    baseline = np.exp(base + 0.5 * noise_sd[:, None] ** 2)
    mean = baseline * np.where(np.abs(total) > SMALL, np.expm1(safe) / safe, 1.0)
    return baseline, media * mean[:, :, None]
