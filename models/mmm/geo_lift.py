"""Lift tests on a whole company, read by a model of its geos.

Such a test says what the geos' lifts sum to. Each geo's likelihood reads it as a test of its own, whose lift is what
the other geos leave over: the density, and its gradient by that geo's parameters, are then those of the sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from models.mmm.config import MMMConfig
from models.mmm.data import LiftTest, MMMData
from models.mmm.inputs import Inputs
from models.mmm.lift import lift_inputs, overlap_days
from models.mmm.likelihood import BLOCKS, curve_at, fill_share

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class NationalTest:
    """One test in the units of each geo that took part.

    channel : its name.
    geos : indices (n_part,); rows, levels : (n_part, 6), (n_part, n_channels) as in `LiftInputs`, lift and its standard
        error those of the whole company in the geo's mean KPIs.
    """

    channel: str
    geos: NDArray[np.int64]
    rows: Array
    levels: Array


@dataclass(frozen=True, kw_only=True)
class GeoLift:
    """Tests of all geos, one after the other: rows, partner_levels as in `LiftInputs`; geo g's from first[g] on.

    places : per test on the whole company its rows, in the order of its geos.
    """

    rows: Array
    partner_levels: Array
    first: NDArray[np.int64]
    places: tuple[NDArray[np.int64], ...]


def national_tests(
    data: Sequence[MMMData], tests: tuple[LiftTest, ...], each: Sequence[Inputs], config: MMMConfig
) -> tuple[tuple[NationalTest, ...], tuple[str, ...]]:
    """Tests in the units of the geos, with a note for each one left out.

    The change of spend is split over the geos as the channel's spend was in the weeks of the test.
    """
    found, notes = [], []
    for test in tests:
        label = f"Lift test on {test.channel!r} from {test.start_date}"
        if test.channel not in data[0].channels:
            notes.append(f"{label} is not used: the channel has no spend in the data.")
            continue
        if config.link == "log" or config.interactions:
            notes.append(f"{label} is not used: with a log link or interactions a test by geo needs its geo.")
            continue
        days, c = overlap_days(data[0], test), data[0].channels.index(test.channel)
        spent = np.array([float(days @ one.spend[:, c]) for one in data])
        if not spent.sum() > 0:
            notes.append(f"{label} is not used: without spend in its weeks nothing says how it was split over geos.")
            continue
        part = [g for g, here in enumerate(spent) if here > 0]
        share, rows, levels = spent / spent.sum(), [], []
        for g in part:
            here = replace(data[g], lift_tests=(replace(test, spend_change=float(test.spend_change * share[g])),))
            lift = lift_inputs(here, each[g].media_scale, each[g].kpi_scale, config)
            rows.append(lift.rows)
            levels.append(lift.partner_levels)
            said = lift.notes
        if said:
            notes.append(said[0])
            continue
        found.append(
            NationalTest(channel=test.channel, geos=np.array(part), rows=np.vstack(rows), levels=np.vstack(levels))
        )
    return tuple(found), tuple(notes)


def geo_lift(each: Sequence[Inputs], tests: tuple[NationalTest, ...]) -> GeoLift:
    """All tests by geo: a geo's own, then its part of those on the whole company."""
    rows, levels, first = [], [], [0]
    places: list[list[int]] = [[] for _ in tests]
    for g, one in enumerate(each):
        rows.append(one.lift.rows)
        levels.append(one.lift.partner_levels)
        at = first[-1] + len(one.lift.rows)
        for t, test in enumerate(tests):
            part = test.geos == g
            rows.append(test.rows[part])
            levels.append(test.levels[part])
            places[t] += [at] * int(part.any())
            at += int(part.any())
        first.append(at)
    return GeoLift(
        rows=np.vstack(rows),
        partner_levels=np.vstack(levels),
        first=np.array(first, dtype=np.int64),
        places=tuple(np.array(place, dtype=np.int64) for place in places),
    )


def with_others_lift(
    each: Sequence[Inputs], tests: tuple[NationalTest, ...], lift: GeoLift, theta: Array
) -> tuple[Array, float]:
    """Rows of `lift` at theta (n_geos, n_theta), those of tests on the whole company less the lift of the other geos.

    Also returns what the density then counts too often: such a test is in as many likelihoods as geos took part.
    """
    rows, too_often = lift.rows.copy() if tests else lift.rows, 0.0
    for test, place in zip(tests, lift.places, strict=True):
        scale = np.array([each[g].kpi_scale for g in test.geos])
        expected = (
            np.array([_lift(each[g], row, theta[g]) for g, row in zip(test.geos, test.rows, strict=True)]) * scale
        )
        miss = (test.rows[0, 4] * scale[0] - expected.sum()) / (test.rows[0, 5] * scale[0])
        rows[place, 4] = test.rows[:, 4] - (expected.sum() - expected) / scale
        too_often -= 0.5 * (len(test.geos) - 1) * float(miss * miss)
    return rows, too_often


def national_misses(
    each: Sequence[Inputs], tests: tuple[NationalTest, ...], theta: Sequence[Array]
) -> dict[str, float]:
    """By channel the largest distance, in standard errors, of a national test from what draws of theta expect.

    theta : of each geo (n_draws, n_theta), from a fit without the test. The error is that of the test and of the draws.
    """
    found: dict[str, float] = {}
    for test in tests:
        expected = np.zeros(len(theta[0]))
        for g, row in zip(test.geos, test.rows, strict=True):
            expected += each[g].kpi_scale * np.array([_lift(each[g], row, draw) for draw in theta[g]])
        lift, lift_se = test.rows[0, 4:] * each[test.geos[0]].kpi_scale
        miss = abs(lift - expected.mean()) / float(np.sqrt(lift_se**2 + expected.var()))
        found[test.channel] = max(miss, found.get(test.channel, 0.0))
    return found


def _lift(inputs: Inputs, row: Array, theta: Array) -> float:
    """Lift in mean KPIs that theta (n_theta,) expects of a test."""
    c, n, kind = int(row[0]), inputs.n_channels, int(inputs.form[1])
    share, unused = np.empty(len(inputs.kpi)), np.empty((BLOCKS - 1, len(inputs.kpi)))
    fill_share(inputs.form, inputs.media[c], theta, c, n, share, unused)
    slope = float(np.exp(theta[2 * n + c]))
    level = [curve_at(kind, float(np.log(x)), float(theta[n + c]), slope)[0] if x > 0 else 0.0 for x in row[1:3]]
    return float(np.exp(theta[c]) / share.mean() * row[3] * (level[1] - level[0]))
