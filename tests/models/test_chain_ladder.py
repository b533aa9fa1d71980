"""The chain ladder: Mack's published figures, recovery of a known growth, the laws of sums."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from models.chain_ladder import complete, fit_ladder, pooled_curve, pooled_dispersion

# Taylor & Ashe (1983), as in Mack (1993), table 1
TRIANGLE = """
357848 1124788 1735330 2218270 2745596 3319994 3466336 3606286 3833515 3901463
352118 1236139 2170033 3353322 3799067 4120063 4647867 4914039 5339085
290507 1292306 2218525 3235179 3985995 4132918 4628910 4909315
310608 1418858 2195047 3757447 4029929 4381982 4588268
443160 1136350 2128333 2897821 3402672 3873311
396132 1333217 2180715 2985752 3691712
440832 1288463 2419861 3483130
359480 1421128 2864498
376686 1363294
344014
"""
RESERVES = (94_634, 469_511, 709_638, 984_889, 1_419_459, 2_177_641, 3_920_301, 4_278_972, 4_625_811)
ERRORS = (75_535, 121_699, 133_549, 261_406, 411_010, 558_317, 875_328, 971_258, 1_363_155)


def taylor_ashe() -> tuple[np.ndarray, np.ndarray]:
    rows = [[float(word) for word in line.split()] for line in TRIANGLE.strip().splitlines()]
    value = np.array([row + [math.nan] * (10 - len(row)) for row in rows])
    return value, np.isfinite(value)


def test_mack_published_reserves_and_standard_errors() -> None:
    value, observed = taylor_ashe()
    ladder = fit_ladder(value, observed)
    published = [3.4906, 1.7473, 1.4574, 1.1739, 1.1038, 1.0863, 1.0539, 1.0766, 1.0177]
    assert ladder.factor == pytest.approx(published, abs=5e-5)
    full = complete(value, observed, ladder)
    latest = [row[known][-1] for row, known in zip(value, observed, strict=True)]
    assert full.value[1:, -1] - latest[1:] == pytest.approx(RESERVES, abs=1.0)
    assert full.error[1:, -1] == pytest.approx(ERRORS, abs=1.0)
    assert (full.value[:, -1] - latest).sum() == pytest.approx(18_680_856, abs=1.0)


def simulated(rng: np.random.Generator, customers: int, ages: int = 13) -> tuple[np.ndarray, np.ndarray]:
    """Cohorts of customers who bring 50 at once and then a compound Poisson sum of falling rate, and the mean curve."""
    rate = 0.25 * 0.85 ** np.arange(1, ages)
    truth = 50.0 * np.concatenate([[1.0], 1.0 + np.cumsum(rate)])
    first = rng.gamma(4.0, 12.5, (ages, customers)).sum(axis=1)
    later = rng.gamma(4.0 * rng.poisson(customers * rate, (ages, ages - 1)) + 1e-9, 12.5)
    return np.cumsum(np.column_stack([first, later]), axis=1), truth


@pytest.mark.parametrize("customers", [40, 1000, 25_000])
def test_the_true_curve_is_recovered_closer_with_more_customers(customers: int) -> None:
    tolerance = 4 * 0.24 / math.sqrt(customers)  # four standard errors of the last age, which one cohort has reached
    rng = np.random.default_rng(1993)
    for _ in range(20):
        value, truth = simulated(rng, customers)
        observed = np.tri(13, dtype=bool)[::-1]
        ladder = fit_ladder(value, observed)
        curve, _ = pooled_curve(value, observed, np.full(13, float(customers)), ladder)
        assert curve == pytest.approx(truth, rel=tolerance)


def test_one_dispersion_is_known_better_than_one_for_each_step() -> None:
    """A sum of `n` gamma(4) orders of mean 50 has variance n * 50**2 * 1.25: phi is 62.5 at every step."""
    rng = np.random.default_rng(1998)
    observed = np.tri(13, dtype=bool)[::-1]
    errors = []
    for _ in range(100):
        value, truth = simulated(rng, 1000)
        ladder = fit_ladder(value, observed)
        true = 62.5 * (truth[1:] / truth[:-1] - 1.0)
        errors.append([found.variance / true - 1.0 for found in (ladder, pooled_dispersion(ladder))])
    each, pooled = np.array(errors).swapaxes(0, 1)
    assert np.abs(pooled.mean(axis=0)).max() < 0.08
    assert pooled.std(axis=0).max() < 0.6 * each.std(axis=0)[6:].min()  # steps that six cohorts or fewer have taken
    shrinking = fit_ladder(value[:, ::-1].copy(), np.ones((13, 13), dtype=bool))
    assert pooled_dispersion(shrinking) is shrinking


def test_the_error_of_the_pooled_curve_covers_the_truth() -> None:
    rng = np.random.default_rng(1999)
    hits = []
    for _ in range(300):
        value, truth = simulated(rng, 300)
        observed = np.tri(13, dtype=bool)[::-1]
        curve, error = pooled_curve(value, observed, np.full(13, 300.0), fit_ladder(value, observed))
        hits.append(np.abs(curve[[0, 6, 12]] - truth[[0, 6, 12]]) <= 1.6449 * error[[0, 6, 12]])
    cover = np.mean(hits, axis=0)
    assert np.all((cover > 0.84) & (cover < 0.95)), cover  # 0.90 with a binomial error of 0.017


cells = arrays.arrays(float, (6, 6), elements=st.integers(0, 10**8).map(lambda cents: cents / 100))


@given(cells)
def test_laws(increments: np.ndarray) -> None:
    value = np.cumsum(increments, axis=1)
    observed = np.tri(6, dtype=bool)[::-1]
    ladder = fit_ladder(value, observed)
    full = complete(value, observed, ladder)
    assert np.all(ladder.factor >= 1.0 - 1e-12)  # non-negative increments never lower a curve
    assert np.all(np.diff(full.value, axis=1) >= -1e-9 * np.abs(full.value[:, 1:]))
    assert np.array_equal(full.value[observed], value[observed])  # what was observed stays as it was
    assert np.all(full.error[observed] == 0.0)
    scaled = complete(7.0 * value, observed, fit_ladder(7.0 * value, observed))
    assert scaled.value == pytest.approx(7.0 * full.value, rel=1e-9)  # another currency, the same growth


def test_the_interval_of_a_projected_cohort_covers_what_it_brings() -> None:
    rng = np.random.default_rng(2000)
    observed = np.tri(13, dtype=bool)[::-1]
    hits = []
    for _ in range(300):
        value, _ = simulated(rng, 300)
        full = complete(value, observed, pooled_dispersion(fit_ladder(value, observed)))
        inside = np.abs(full.value - value) <= 1.6449 * full.error
        hits.append([inside[6, 12], inside[12, 6], inside[12, 12], inside[3, 12]])
    cover = np.mean(hits, axis=0)
    # 0.90 with a binomial error of 0.017, and more for the youngest: the spread of first orders counts for every step
    assert np.all((cover > 0.84) & (cover < 0.98)), cover


def test_a_fully_observed_rectangle_is_its_own_mean() -> None:
    value, _ = simulated(np.random.default_rng(5), 100)
    size = np.arange(1.0, 14.0) * 10
    ladder = fit_ladder(value, np.ones_like(value, dtype=bool))
    curve, _ = pooled_curve(value, np.ones_like(value, dtype=bool), size, ladder)
    assert curve == pytest.approx(value.sum(axis=0) / size.sum(), rel=1e-12)


def test_nothing_beyond_what_any_row_has_reached() -> None:
    value = np.array([[1.0, 2.0, math.nan], [1.0, math.nan, math.nan]])
    observed = np.isfinite(value)
    full = complete(value, observed, fit_ladder(value, observed))
    assert full.value[1].tolist()[:2] == [1.0, 2.0] and math.isnan(full.value[1, 2])


def test_a_gap_is_refused() -> None:
    with pytest.raises(ValueError, match="gap"):
        fit_ladder(np.ones((1, 3)), np.array([[True, False, True]]))
