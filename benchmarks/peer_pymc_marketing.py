"""pymc-marketing at work on data handed over in a file; runs in an environment of its own (`make peers`).

`peer_pymc_marketing.py fit DATA.npz OUT.npz` fits its mix model with its defaults by nutpie. With `plan` in place of
`fit` its optimiser then spreads budgets, and its own evaluator tells the value of each channel at a grid of spends.
With `clv` its BG/NBD and Gamma-Gamma models are fitted by MAP.
"""

import json
import resource
import sys
import time
import warnings

import numpy as np
import pandas as pd
import xarray as xr

PLAN_WEEKS = 13
GRID = 120  # spends per channel at which its evaluator is asked


def company(file: np.lib.npyio.NpzFile) -> tuple[pd.DataFrame, pd.Series, list[str], list[str]]:
    """Its frame of weeks, KPI, names of channels and controls."""
    channels, controls = [str(name) for name in file["channels"]], [str(name) for name in file["control_names"]]
    frame = pd.DataFrame(file["spend"], columns=channels).assign(date=pd.to_datetime(file["week_start"]))
    for position, name in enumerate(controls):
        frame[name] = file["controls"][:, position]
    return frame, pd.Series(file["kpi"], name="y"), channels, controls


def main() -> None:
    """Fit, then plan if asked; results in one file."""
    what, source, target = sys.argv[1:]
    if what == "clv":
        customers(source)
        return
    started = time.perf_counter()
    warnings.filterwarnings("ignore")
    import arviz as az
    from pymc_marketing.mmm import MMM, GeometricAdstock, LogisticSaturation

    imported = time.perf_counter()
    with np.load(source) as file:
        frame, kpi, channels, controls = company(file)
        settings = json.loads(str(file["settings"]))
        budgets, low, high = (file[name] if name in file.files else None for name in ("budgets", "low", "high"))
    mmm = MMM(
        date_column="date",
        channel_columns=channels,
        control_columns=controls or None,
        adstock=GeometricAdstock(l_max=8),
        saturation=LogisticSaturation(),
        yearly_seasonality=2,
    )
    mmm.build_model(frame, kpi)
    mmm.add_original_scale_contribution_variable(var=["channel_contribution"])
    if what == "sample":
        print(json.dumps(sampled(mmm, settings)))
        return
    before = time.perf_counter()
    mmm.fit(
        frame,
        kpi,
        nuts_sampler="nutpie",
        chains=2,
        cores=2,
        draws=settings["draws"],
        tune=settings["tune"],
        random_seed=settings["seed"],
        progressbar=False,
    )
    fitted = time.perf_counter()
    posterior = mmm.idata["posterior"].to_dataset()
    free = posterior[[variable.name for variable in mmm.model.free_RVs]]
    ess = smallest_ess(free)
    found = posterior["channel_contribution_original_scale"]
    told: dict[str, object] = {
        "import_seconds": imported - started,
        "fit_seconds": fitted - before,
        "ess_min": ess,
        "r_hat_max": float(max(az.rhat(free)[name].max() for name in free)),
        "divergences": int(mmm.idata["sample_stats"]["diverging"].sum()),
    }
    arrays = {"contribution": found.sum("date").stack(draws=("chain", "draw")).transpose("draws", "channel").to_numpy()}
    if what == "plan":
        arrays |= planned(mmm, frame, channels, budgets, low, high)
    np.savez(target, told=json.dumps(told), **arrays)


def smallest_ess(free: xr.Dataset) -> float:
    """Smallest bulk or tail effective sample size of the sampled parameters."""
    import arviz as az

    return min(float(az.ess(free, method=method)[name].min()) for method in ("bulk", "tail") for name in free)


def sampled(mmm: object, settings: dict) -> dict[str, float]:
    """Seconds of compiling its model for nutpie, then of sampling alone, with the smallest ESS."""
    import nutpie

    before = time.perf_counter()
    compiled = nutpie.compile_pymc_model(mmm.model)  # type: ignore[attr-defined]
    ready = time.perf_counter()
    result = nutpie.sample(
        compiled, draws=settings["draws"], tune=settings["tune"], chains=2, cores=2, seed=settings["seed"],
        progress_bar=False,
    )  # fmt: skip
    done = time.perf_counter()
    names = [variable.name for variable in mmm.model.free_RVs]  # type: ignore[attr-defined]
    return {
        "compile": ready - before,
        "sampling": done - ready,
        "ess_min": smallest_ess(result["posterior"].to_dataset()[names]),
    }


def planned(
    mmm: object, frame: pd.DataFrame, channels: list[str], budgets: np.ndarray, low: np.ndarray, high: np.ndarray
) -> dict[str, np.ndarray]:
    """Its plans, what its evaluator says of them, and each channel's value at a grid of weekly spends.

    budgets (n,), low, high (n, channels): weekly money.
    """
    start = frame["date"].max() + pd.Timedelta(days=7)
    optimiser = mmm.budget_optimizer(start, start + pd.Timedelta(days=7 * (PLAN_WEEKS - 1)))  # type: ignore[attr-defined]

    def utility(spend: np.ndarray) -> float:
        return optimiser.evaluate_plan(xr.DataArray(spend, dims="channel", coords={"channel": channels})).utility

    grid = np.linspace(0.0, 1.0, GRID)[None, :] ** 2 * high.max(axis=0)[:, None]
    nothing = utility(np.zeros(len(channels)))
    curves = np.zeros_like(grid)
    for c in range(len(channels)):
        for point in range(1, GRID):
            spend = np.zeros(len(channels))
            spend[c] = grid[c, point]
            curves[c, point] = utility(spend) - nothing
    plans, seconds = [], []
    for total, least, most in zip(budgets, low, high, strict=True):
        bounds = xr.DataArray(
            np.column_stack([least, most]),
            dims=("channel", "bound"),
            coords={"channel": channels, "bound": ["lower", "upper"]},
        )
        before = time.perf_counter()
        result = optimiser.allocate_budget(total_budget=float(total), budget_bounds=bounds, return_if_fail=True)
        seconds.append(time.perf_counter() - before)
        plans.append(result.budgets.sel(channel=channels).to_numpy())
    return {
        "grid": grid,
        "curves": curves,
        "plans": np.array(plans),
        "plan_values": np.array([utility(plan) - nothing for plan in plans]),
        "plan_seconds": np.array(seconds),
    }


def customers(source: str) -> None:
    """Fit its BG/NBD and Gamma-Gamma models to histories by MAP, as its documentation shows; seconds of the fits."""
    warnings.filterwarnings("ignore")
    from pymc_marketing.clv import BetaGeoModel, GammaGammaModel

    with np.load(source) as file:
        frame = pd.DataFrame({name: file[name] for name in ("frequency", "recency", "T", "monetary_value")})
    frame["customer_id"] = range(len(frame))
    started = time.perf_counter()
    purchases = BetaGeoModel()
    purchases.fit(frame[["customer_id", "frequency", "recency", "T"]], method="map", progressbar=False)
    paying = frame[(frame["frequency"] > 0) & (frame["monetary_value"] > 0)]
    spend = GammaGammaModel()
    spend.fit(paying[["customer_id", "frequency", "monetary_value"]], method="map", progressbar=False)
    seconds = time.perf_counter() - started
    found = {
        name: float(model.fit_result[name].mean())
        for model, names in ((purchases, ("r", "alpha", "a", "b")), (spend, ("p", "q", "v")))
        for name in names
    }
    gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(json.dumps({"fit_seconds": seconds, "parameters": found, "gigabytes": round(gigabytes, 2)}))


if __name__ == "__main__":
    main()
