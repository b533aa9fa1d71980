"""Rolling-origin backtest of the weekly forecast, from which its error law is learned.

At each origin only the weeks before it are used. The errors of the next weeks are put down to three sources: a level
that was misjudged, a level that wanders, noise. Their variances are fitted to the average product of errors, so the
spread of any total, not only of single weeks, is the one that past forecasts really had.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import betaln, stdtr, stdtrit

from models.baseline import YEAR_WEEKS, Floats, ForecastConfig, Weeks, check_weeks, project

TRAIN_WEEKS_MIN = 26  # first origin: half a year behind it
PRIOR_WINDOWS = 2.0  # errors inside the sample count as this many forecasts: a lucky few do not narrow the law
OWN_INFLATION = (
    2.0  # variance of four-week errors outside the sample over that inside: 2.2 on trend with season, or more
)
NOMINALS = (0.5, 0.8, 0.9)  # intervals whose coverage is published


@dataclass(frozen=True, kw_only=True)
class ErrorLaw:
    """Errors of the next weeks: a misjudged level, a random walk, noise, given by their standard deviations.

    All three are Student with `degrees` of freedom, which count the separate forecasts behind the law: few make wide
    tails.
    """

    level: float
    walk: float
    noise: float
    degrees: float

    def scaled(self, factor: float) -> "ErrorLaw":
        """Same law with errors `factor` times as large."""
        return ErrorLaw(
            level=self.level * factor, walk=self.walk * factor, noise=self.noise * factor, degrees=self.degrees
        )

    def total_scale(self, weeks: int) -> float:
        """Scale of the Student error of the total of the first `weeks` weeks."""
        walked = weeks * (weeks + 1) * (2 * weeks + 1) / 6  # sum over h, h' of min(h, h')
        return float(np.sqrt((self.level * weeks) ** 2 + self.walk**2 * walked + self.noise**2 * weeks))

    def draw(self, paths: int, horizon: int, rng: np.random.Generator) -> Floats:
        """Errors of `paths` futures, shape (paths, horizon)."""
        errors = self.noise * rng.standard_normal((paths, horizon))
        errors += self.walk * np.cumsum(rng.standard_normal((paths, horizon)), axis=1)
        errors += self.level * rng.standard_normal((paths, 1))
        return errors * np.sqrt(self.degrees / rng.chisquare(self.degrees, (paths, 1)))


@dataclass(frozen=True, kw_only=True)
class RollingErrors:
    """Forecasts looked back on: n origins, H weeks each.

    `origins` (n,) counts the weeks known. `errors` (n, H), actual minus forecast, and `own` (n, H, H), the covariance
    each fit claimed, are in units of `levels` (n,), the mean size of the series in the year before. `kpi` (T,) is what
    was to be forecast, `organic` (T,) its part without paid media, which the projection sees.
    """

    origins: NDArray[np.int64]
    levels: Floats
    errors: Floats
    own: Floats
    kpi: Floats
    organic: Floats


def roll(weeks: Weeks, kpi: Floats, config: ForecastConfig, media: Floats | None = None) -> RollingErrors:
    """Forecast from each past origin, knowing only what came before.

    Parameters
    ----------
    weeks, kpi : shape (T,), as in `models.baseline.project`.
    media : shape (T,), mean incremental KPI of paid media; its future is taken as known, since the plan decides it.
    """
    check_weeks(weeks, kpi)
    media = np.zeros_like(kpi) if media is None else media
    organic, horizon, last = kpi - media, config.horizon_weeks, len(kpi) - config.horizon_weeks
    origins = np.arange(last, max(TRAIN_WEEKS_MIN, last - config.backtest_weeks) - 1, -config.backtest_stride_weeks)[
        ::-1
    ]
    if config.backtest_weeks == 0:
        origins = origins[:0]
    projections = [project(weeks[:origin], organic[:origin], horizon, config) for origin in origins]
    levels = np.array([level_of(organic[:origin]) for origin in origins])
    errors = np.array([organic[o : o + horizon] - p.mean for o, p in zip(origins, projections, strict=True)])
    own = np.array([p.covariance for p in projections])
    return RollingErrors(
        origins=origins,
        levels=levels,
        errors=errors.reshape(-1, horizon) / levels[:, None],
        own=own.reshape(-1, horizon, horizon) / levels[:, None, None] ** 2,
        kpi=kpi,
        organic=organic,
    )


def level_of(series: Floats) -> float:
    """Mean size over the last year, the unit of forecast errors; 1 where the series is all zero."""
    return float(np.abs(series[-YEAR_WEEKS:]).mean()) or 1.0


def error_law(errors: Floats, own: Floats, windows: float) -> ErrorLaw:
    """Law behind past `errors` (n, H), with the covariance `own` (H, H) that the fit claims standing in for a few more.

    Parameters
    ----------
    windows : number of errors that do not overlap, 0 when `errors` is empty.
    """
    from scipy.optimize import nnls

    horizon = own.shape[0]
    seen = errors.T @ errors / max(len(errors), 1)
    products = (windows * seen + PRIOR_WINDOWS * OWN_INFLATION * own) / (windows + PRIOR_WINDOWS)
    ahead = np.arange(1.0, horizon + 1.0)
    parts = [np.ones((horizon, horizon)), np.minimum.outer(ahead, ahead), np.eye(horizon)]
    if horizon == 1:
        parts = parts[2:]  # one week ahead the three cannot be told apart
    size = float(np.trace(products)) / horizon or 1.0
    variances, _ = nnls(np.stack([part.ravel() for part in parts], axis=1), products.ravel() / size)
    level, walk, noise = np.sqrt(size * np.concatenate([np.zeros(3 - len(variances)), variances]))
    return ErrorLaw(level=level, walk=walk, noise=noise, degrees=windows + PRIOR_WINDOWS)


def law_known_at(rolling: RollingErrors, week: int, own: Floats) -> ErrorLaw:
    """Law in relative units from the forecasts whose outcome was known by `week`."""
    horizon = own.shape[0]
    known = rolling.origins + horizon <= week
    origins = rolling.origins[known]
    windows = 1.0 + (origins[-1] - origins[0]) / horizon if origins.size else 0.0
    return error_law(rolling.errors[known], own, min(windows, float(origins.size)))


def backtest(rolling: RollingErrors, metric: str = "revenue") -> pl.DataFrame:
    """Rows of ``out.backtest``: how totals of the first h weeks were forecast, each interval set before its outcome.

    Returns
    -------
    metric, horizon_days (7 h), nominal, coverage, crps, mape, naive_crps. The naive rival repeats the same weeks of
    last year, or the last week while there is no year, spread by its own past errors. Both crps are in units of the
    KPI. Empty without any origin.
    """
    rows = []
    laws = [law_known_at(rolling, int(o), own) for o, own in zip(rolling.origins, rolling.own, strict=True)]
    degrees = np.array([law.degrees for law in laws])
    for weeks in range(1, rolling.errors.shape[1] + 1) if laws else ():
        errors = rolling.errors[:, :weeks].sum(axis=1) * rolling.levels
        scales = np.array([law.total_scale(weeks) for law in laws]) * rolling.levels
        actual = np.array([rolling.kpi[o : o + weeks].sum() for o in rolling.origins])
        naive = np.mean([_naive_crps(rolling.kpi, int(o), weeks) for o in rolling.origins])
        nonzero = actual != 0.0
        mape = float(np.mean(np.abs(errors[nonzero] / actual[nonzero]))) if nonzero.any() else None
        scores = (float(student_crps(errors, scales, degrees).mean()), mape, float(naive))
        for nominal in NOMINALS:
            inside = np.abs(errors) <= stdtrit(degrees, 0.5 + 0.5 * nominal) * scales
            rows.append((metric, 7 * weeks, nominal, float(inside.mean()), *scores))
    schema = {"metric": pl.String, "horizon_days": pl.Int64}
    schema |= dict.fromkeys(("nominal", "coverage", "crps", "mape", "naive_crps"), pl.Float64)
    return pl.DataFrame(rows, schema=schema, orient="row")


def student_crps(error: Floats, scale: Floats, degrees: Floats) -> Floats:
    """Continuous ranked probability score of a Student forecast, in units of the error; `degrees` > 1.

    Sources: Jordan, Krüger & Lerch (2019) "Evaluating Probabilistic Forecasts with scoringRules", Journal of
    Statistical Software 90(12), appendix A.
    """
    scale = np.maximum(scale, 1e-12 * np.maximum(np.abs(error), 1.0))
    z = error / scale
    ratio = np.exp(betaln(0.5, degrees - 0.5) - 2.0 * betaln(0.5, 0.5 * degrees))
    spread = 2.0 * np.sqrt(degrees) / (degrees - 1.0) * ratio
    density = np.exp(-0.5 * (degrees + 1.0) * np.log1p(z**2 / degrees) - betaln(0.5, 0.5 * degrees)) / np.sqrt(degrees)
    body = z * (2.0 * stdtr(degrees, z) - 1.0)
    return scale * (body + 2.0 * density * (degrees + z**2) / (degrees - 1.0) - spread)


def _naive_crps(kpi: Floats, origin: int, weeks: int) -> float:
    """Score of repeating the same weeks of last year, or the last week while there is no year."""
    lag = YEAR_WEEKS if origin >= YEAR_WEEKS + 2 * weeks else 1

    def error(at: int) -> float:
        before = kpi[at - lag : at - lag + weeks] if lag > 1 else np.full(weeks, kpi[at - 1])
        return float(np.sum(kpi[at : at + weeks] - before))

    past = np.array([error(at) for at in range(lag, origin - weeks + 1)])
    degrees = np.array(max(len(past) / weeks, 2.0))
    return float(student_crps(np.array(error(origin)), np.sqrt(np.mean(past**2)), degrees))
