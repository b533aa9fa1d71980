"""The allocator beside exact dynamic programming, SLSQP from a uniform start and a greedy climb: `run.py allocation`.

SLSQP from one start and the climb on the best secant are the algorithms of pymc-marketing's and Meridian's optimisers.
They see the same instances without "off or at least", which they cannot express, and are compared with the exact
optimum of that easier problem.
MARGINAL_BENCH_SCALE below 1 makes a smaller trial.
"""

import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from allocation_instances import Instance, exact_optimum, random_instance
from scipy.optimize import minimize

from models.allocation import AllocationConfig, Group, allocate
from models.errors import InfeasiblePlan
from models.flighting import FlightConfig, plan_flights
from models.response import ResponseCurves, line_value
from models.risk import cvar

ROOT = Path(__file__).resolve().parent.parent
SCALE = float(os.environ.get("MARGINAL_BENCH_SCALE", "1"))
INSTANCES = int(1000 * SCALE)
FIRST_SEED = 100_000  # of the instances; the method was made on seeds below 10 000
UNIT = 100.0  # money per grid step


def table_of(instance: Instance) -> tuple[ResponseCurves, AllocationConfig]:
    """The instance as curves and rules of the public interface."""
    n, points = instance.curves.shape
    names = tuple(f"line_{i}" for i in range(n))
    grid = np.tile(np.arange(points) * UNIT, (n, 1))
    curves = ResponseCurves(lines=names, spend=grid, response=instance.curves[:, :, None] * 1e4)
    config = AllocationConfig(
        total=instance.total * UNIT,
        max_change_fraction=None,
        floors={names[i]: float(low * UNIT) for i, low in enumerate(instance.low) if low},
        caps={names[i]: float(high * UNIT) for i, high in enumerate(instance.high)},
        off_or_at_least={names[i]: float(least * UNIT) for i, least in enumerate(instance.at_least) if least},
        groups={
            f"group {k}": Group(lines=tuple(names[i] for i in lines), floor=floor * UNIT, cap=cap * UNIT)
            for k, (lines, floor, cap) in enumerate(instance.groups)
        },
    )
    return curves, config


def slsqp(instance: Instance) -> float:
    """Value by SLSQP from the uniform start, on the smooth curves; valued on the straight-lined ones."""
    n = len(instance.low)
    rules = [{"type": "eq", "fun": lambda x: x.sum() - instance.total}]
    for lines, floor, cap in instance.groups:
        at = list(lines)
        rules.append({"type": "ineq", "fun": lambda x, at=at, cap=cap: cap - x[at].sum()})
        rules.append({"type": "ineq", "fun": lambda x, at=at, floor=floor: x[at].sum() - floor})
    start = np.clip(np.full(n, instance.total / n), instance.low, instance.high)
    found = minimize(
        lambda x: -instance.hill(x).sum(),
        start,
        method="SLSQP",
        bounds=list(zip(instance.low, instance.high, strict=True)),
        constraints=rules,
        options={"maxiter": 1000, "ftol": 1e-9},
    )
    x = np.clip(found.x, instance.low, instance.high)
    broken = abs(x.sum() - instance.total) > 1e-3 * instance.total
    broken |= any(
        not f - 1e-3 * instance.total <= x[list(g)].sum() <= c + 1e-3 * instance.total for g, f, c in instance.groups
    )
    if broken:
        return np.nan
    grid = np.arange(instance.curves.shape[1])
    return float(sum(np.interp(x[i], grid, instance.curves[i]) for i in range(n)))


def climb(instance: Instance) -> float:
    """Value by a greedy climb: again and again the move up with the best return per step; floors of groups first."""
    at = instance.low.astype(int).copy()
    group_of = {i: (list(g), cap) for g, _, cap in instance.groups for i in g}

    def step(lines: list[int], left: int) -> bool:
        best, move = -np.inf, None
        for i in lines:
            group, cap = group_of.get(i, ([i], np.inf))
            room = int(min(left, instance.high[i] - at[i], cap - at[group].sum()))
            if room > 0:
                here = instance.curves[i, at[i]]
                secants = (instance.curves[i, at[i] + 1 : at[i] + room + 1] - here) / np.arange(1, room + 1)
                far = int(np.argmax(secants))
                if secants[far] > best:
                    best, move = secants[far], (i, far + 1)
        if move is None:
            return False
        at[move[0]] += move[1]
        return True

    for lines, floor, _ in instance.groups:
        group = list(lines)
        while at[group].sum() < floor and step(group, int(floor - at[group].sum())):
            pass
    while at.sum() < instance.total and step(list(range(len(at))), int(instance.total - at.sum())):
        pass
    return float(instance.curves[np.arange(len(at)), at].sum()) if at.sum() == instance.total else np.nan


def exactness() -> list[str]:
    """Ours on all rules; rivals on the same instances without thresholds."""
    ours, bounds, gaps, seconds, losses = [], [], [], [], {"slsqp": [], "climb": []}
    infeasible = disagreed = 0
    for seed in range(FIRST_SEED, FIRST_SEED + INSTANCES):
        instance = random_instance(seed)
        curves, config = table_of(instance)
        exact = exact_optimum(instance) * 1e4
        started = time.perf_counter()
        try:
            plan = allocate(curves, None, config)
        except InfeasiblePlan:
            disagreed += bool(np.isfinite(exact))
            infeasible += 1
            continue
        seconds.append(time.perf_counter() - started)
        disagreed += not np.isfinite(exact)
        ours.append(1 - plan.value_mean / exact)
        bounds.append(plan.upper_bound / exact - 1)
        gaps.append(plan.gap_fraction)
        easier = replace(instance, at_least=np.zeros_like(instance.at_least))
        best = exact_optimum(easier)
        for name, method in (("slsqp", slsqp), ("climb", climb)):
            losses[name].append(1 - method(easier) / best)
    rows = [
        (
            "| method | instances | mean loss | 95th percentile | worst loss | loss above 0.1 % | no usable answer "
            "| reported gap ≤ 0.1 % | slowest, s |"
        ),
        "|---|---|---|---|---|---|---|---|---|",
    ]
    within = np.mean([g <= 1e-3 and s <= 5 for g, s in zip(gaps, seconds, strict=True)])
    rows.append(told("ours, all rules", np.array(ours), f"{within:.1%}", f"{max(seconds):.2f}"))
    rows.append(told("SLSQP, uniform start", np.array(losses["slsqp"]), "reports none", "–"))
    rows.append(told("greedy climb, best secant", np.array(losses["climb"]), "reports none", "–"))
    return [
        *rows,
        "",
        (
            "4 to 12 Hill lines, slopes 0.7 to 4, random floors, caps, groups, off or at least; loss against the exact "
            f"dynamic programme. Our bound over the exact optimum: smallest {min(bounds):+.1e}, "
            f"largest {max(bounds):+.1e}. {infeasible} instances have no plan; ours and the dynamic programme "
            f"disagree on that in {disagreed}. Mean time of ours {1000 * np.mean(seconds):.1f} ms."
        ),
    ]


def told(name: str, loss: np.ndarray, gap: str, slowest: str) -> str:
    """One row of the exactness table."""
    known = loss[np.isfinite(loss)]
    return (
        f"| {name} | {len(loss)} | {known.mean():.3%} | {np.quantile(known, 0.95):.3%} | {known.max():.3%} "
        f"| {np.mean(known > 1e-3):.1%} | {len(loss) - len(known)} | {gap} | {slowest} |"
    )


def tied() -> list[str]:
    """Rules without a dynamic programme: a ROAS of the plan, few moves, groups that overlap. Certified gaps."""
    rows = [
        "| rules | instances | plans | gap ≤ 0.1 % within 5 s | largest gap | slowest, s |",
        "|---|---|---|---|---|---|",
    ]
    for name in ("ROAS of the plan", "number of moves", "overlapping groups", "all three"):
        gaps, seconds = [], []
        count = max(int(100 * SCALE), 2)
        for seed in range(FIRST_SEED, FIRST_SEED + count):
            curves, config = table_of(random_instance(seed))
            rng = np.random.default_rng(seed)
            today = rng.dirichlet(np.ones(len(curves.lines))) * (config.total or 0.0)
            rules: dict[str, object] = {}
            if name in ("ROAS of the plan", "all three"):
                free = allocate(curves, None, replace(config, groups={}, off_or_at_least={}, floors={}))
                rules |= {"min_roas": 1.05 * free.roas_mean, "spend_all": False}
            if name in ("number of moves", "all three"):
                rules |= {"max_moves": len(curves.lines) - 2}
            if name in ("overlapping groups", "all three"):
                thirds = {f"third {k}": Group(lines=curves.lines[k : k + 3], max_share=0.6) for k in range(2)}
                rules |= {"groups": thirds}
            started = time.perf_counter()
            try:
                plan = allocate(curves, today, replace(config, floors={}, **rules))  # type: ignore[arg-type]
            except InfeasiblePlan:
                continue
            seconds.append(time.perf_counter() - started)
            gaps.append(plan.optimal_gap_fraction)
        good = np.mean([g <= 1e-3 and s <= 5 for g, s in zip(gaps, seconds, strict=True)])
        rows.append(f"| {name} | {count} | {len(gaps)} | {good:.0%} | {max(gaps):.1e} | {max(seconds):.2f} |")
    return rows


def large(lines: int, draws: int, points: int) -> tuple[ResponseCurves, np.ndarray, AllocationConfig]:
    """Concave lines with draws, limits on each, groups in two layers of which some bind."""
    rng = np.random.default_rng(FIRST_SEED)
    today = np.round(rng.lognormal(6, 1, lines), 2)
    level = np.linspace(0, 1, points) ** 1.5 * 3
    half, slope = rng.uniform(0.4, 1.5, lines), rng.uniform(0.6, 1.0, lines)
    shape = level ** slope[:, None] / (half[:, None] ** slope[:, None] + level ** slope[:, None])
    top = today * rng.uniform(1, 5, lines)
    response = np.empty((lines, points, draws))
    for first in range(0, lines, 2000):
        part = slice(first, first + 2000)
        noise = rng.lognormal(0, 0.3, (len(top[part]), 1, draws))
        response[part] = (top[part, None] * shape[part])[:, :, None] * noise
    names = tuple(f"l{i}" for i in range(lines))
    curves = ResponseCurves(lines=names, spend=level * today[:, None], response=response)
    groups = {}
    for k in range(20):
        spent = float(today[k::20].sum())
        floor = 1.05 * spent if k % 3 == 1 else None
        groups[f"g{k}"] = Group(lines=names[k::20], floor=floor, cap=(1.1 if k % 3 else 0.9) * spent)
    groups["half"] = Group(lines=tuple(name for k in range(10) for name in names[k::20]), max_share=0.52)
    config = AllocationConfig(
        groups=groups,
        max_change_fraction=0.5,
        floors={names[i]: float(today[i] * 0.8) for i in range(0, lines, 7)},
        caps={names[i]: float(today[i] * 1.4) for i in range(0, lines, 5)},
    )
    return curves, today, config


def scale_once(lines: int, draws: int, points: int, attitude: str) -> None:
    """One size in this process; prints seconds, gap, peak memory."""
    curves, today, config = large(lines, draws, points)
    config = replace(config, risk=attitude)
    started = time.perf_counter()
    plan = allocate(curves, today, config, may_hold=False)  # a plan that is held prices no rules
    groups = [rule.binding for rule in plan.constraints if rule.name.startswith("group ")]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(json.dumps([time.perf_counter() - started, plan.optimal_gap_fraction, peak, sum(groups), len(groups)]))


def scale() -> list[str]:
    """Sizes, each in a process of its own, and SLSQP on 200 lines."""
    rows = [
        "| lines × draws × points | maximised | seconds | gap | peak memory, GB | binding groups |",
        "|---|---|---|---|---|---|",
    ]
    many, most = int(10_000 * SCALE), int(100_000 * SCALE)
    for size in ((1000, 200, 21, "mean"), (many, 200, 21, "mean"), (many, 200, 21, "cvar:0.1"), (most, 200, 8, "mean")):
        command = [sys.executable, __file__, "scale", *map(str, size)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        seconds, gap, peak, binding, count = json.loads(done.stdout.splitlines()[-1])
        rows.append(
            f"| {size[0]:,} × {size[1]} × {size[2]} | {size[3]} | {seconds:.2f} | {gap:.1e} | {peak:.2f} "
            f"| {binding} of {count} |"
        )
    alone = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # its small matrices only lose by threads
    command = [sys.executable, __file__, "slsqp"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, env=os.environ | alone)
    return [*rows, "", done.stdout.strip()]


def beside_slsqp() -> str:
    """SLSQP on 200 lines, mean curves, exact gradients, from today's spend."""
    curves, today, _ = large(200, 1, 201)
    free = AllocationConfig(max_change_fraction=0.5)
    started = time.perf_counter()
    plan = allocate(curves, today, free)
    ours = time.perf_counter() - started
    mean, total = curves.mean, float(today.sum())

    def value(x: np.ndarray) -> tuple[float, np.ndarray]:
        at = np.clip((curves.spend <= x[:, None]).sum(axis=1) - 1, 0, mean.shape[1] - 2)
        rows_ = np.arange(len(x))
        slope = np.diff(mean, axis=1)[rows_, at] / np.diff(curves.spend, axis=1)[rows_, at]
        return -float((mean[rows_, at] + slope * (x - curves.spend[rows_, at])).sum()), -slope

    started = time.perf_counter()
    rival = minimize(
        value,
        today,
        jac=True,
        method="SLSQP",
        bounds=list(zip(0.5 * today, 1.5 * today, strict=True)),
        constraints={"type": "eq", "fun": lambda x: x.sum() - total, "jac": np.ones_like},
        options={"maxiter": 1000, "ftol": 1e-9},
    )
    theirs = time.perf_counter() - started
    return (
        f"200 lines, 201 points, mean curves: ours {1000 * ours:.1f} ms with reasons and proof (value "
        f"{plan.value_mean:,.0f}, bound {plan.upper_bound:,.0f}); SLSQP with exact gradients {theirs:.2f} s "
        f"({theirs / ours:,.0f} times as long; value {-rival.fun:,.0f}, {rival.nit} iterations, "
        f"{'converged' if rival.success else rival.message})."
    )


def risk() -> list[str]:
    """Plans made on 1000 draws, judged on 4000 fresh ones."""
    rows = [
        "| company | rule | stated | on fresh draws | value given up |",
        "|---|---|---|---|---|",
    ]
    for seed in range(FIRST_SEED, FIRST_SEED + 4):
        rng = np.random.default_rng(seed)
        size = rng.uniform(500, 2000, 5)
        level = np.linspace(0, 3, 31)
        shock = np.exp(rng.normal(0, 0.3, (2, 5000))[np.arange(5) % 2] + rng.normal(0, 0.2, (5, 5000)))
        slope = rng.uniform(0.7, 2.5, (5, 1))
        shape = level**slope / (rng.uniform(0.5, 1.2, (5, 1)) ** slope + level**slope)
        response = (size * rng.uniform(2, 4, 5))[:, None, None] * shape[:, :, None] * shock[:, None, :]
        names = tuple(f"line_{i}" for i in range(5))
        whole = ResponseCurves(lines=names, spend=level * size[:, None], response=response)
        known, fresh = (
            replace(whole, response=whole.response[:, :, part]) for part in (slice(1000), slice(1000, None))
        )
        base = AllocationConfig(total=float(np.round(size.sum())), max_change_fraction=None)
        free = allocate(known, None, base)
        for level_ in (0.8, 0.9):
            target = 0.95 * free.roas_mean
            asked = replace(base, spend_all=False, objective="revenue", min_roas=target)
            loose, plan = (allocate(known, None, replace(asked, min_probability_roas=p)) for p in (None, level_))
            x = np.array(plan.optimal_spend)
            held = float(np.mean(line_value(fresh, x).sum(axis=0) >= target * x.sum()))
            rows.append(
                f"| {seed} | P(ROAS ≥ {target:.2f}) ≥ {level_:.0%} | {plan.probability_roas_met:.1%} | {held:.1%} "
                f"| {1 - plan.value_mean / loose.value_mean:.1%} |"
            )
        plan = allocate(known, None, replace(base, risk="cvar:0.1"))
        tail = cvar(line_value(fresh, np.array(plan.optimal_spend)).sum(axis=0), 0.1)
        rows.append(
            f"| {seed} | CVaR of the worst tenth | {plan.risk_value:,.0f} | {tail:,.0f} "
            f"({tail / plan.risk_value - 1:+.1%}) | {1 - plan.value_mean / free.value_mean:.2%} |"
        )
    return rows


def flights() -> list[str]:
    """Thirteen weeks of S-shaped lines with carry-over: three flights of the same money."""
    rows = [
        "| company | always-on | pulse | optimised | bound | gap of optimised | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for seed in range(FIRST_SEED, FIRST_SEED + 5):
        rng = np.random.default_rng(seed)
        size, level, slope = rng.uniform(500, 2000, 4), np.linspace(0, 4, 41), rng.uniform(0.8, 3.0, (4, 1))
        shape = level**slope / (rng.uniform(0.5, 1.2, (4, 1)) ** slope + level**slope)
        response = (size * rng.uniform(2, 4, 4))[:, None] * shape
        names = tuple(f"line_{i}" for i in range(4))
        curves = ResponseCurves(lines=names, spend=level * size[:, None], response=response[:, :, None])
        kept = dict(zip(names, rng.uniform(0.1, 0.7, 4).tolist(), strict=True))
        timing = tuple((1 + 0.4 * np.sin(np.arange(13) / 2)).tolist())
        config = FlightConfig(total=float(size.sum() * 13 * 0.5), weeks=13, retention=kept, timing=timing)
        started = time.perf_counter()
        found = plan_flights(curves, config)
        seconds = time.perf_counter() - started
        always, pulse, best = (flight.value for flight in found.flights)
        rows.append(
            f"| {seed} | {always:,.0f} | {pulse:,.0f} | {best:,.0f} | {found.upper_bound:,.0f} "
            f"| {1 - best / found.upper_bound:.2%} | {seconds:.2f} |"
        )
    return rows


def allocation(folder: Path) -> list[str]:
    """All tables of the allocator; `folder` is not used."""
    del folder
    return [
        *("### Exactness", "", *exactness(), ""),
        *("### Rules that tie lines together", "", *tied(), ""),
        *("### Scale, two cores", "", *scale(), ""),
        *("### Risk on fresh draws", "", *risk(), ""),
        *("### Flighting", "", *flights()),
    ]


if __name__ == "__main__":
    if sys.argv[1:2] == ["scale"]:
        scale_once(*(int(number) for number in sys.argv[2:5]), sys.argv[5])
    elif sys.argv[1:2] == ["slsqp"]:
        print(beside_slsqp())
    else:
        print("\n".join(allocation(Path())))
