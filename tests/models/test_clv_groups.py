"""Groups of customers: told apart where they differ, drawn together where they do not."""

import numpy as np
import pytest

from models.btyd_newton import Histories, climb, purchase_derivatives
from models.clv_groups import fit_groups
from tests.models.clv_shop import bg_nbd

START = np.log([0.6, 8.0, 0.8, 2.5])


def paced(n: int, pace: float, seed: int) -> Histories:
    """Customers whose clock runs at `pace`: their alpha is 8 / pace."""
    data = bg_nbd(n, seed)
    return Histories(x=data.x, recency=data.recency / pace, age=data.age / pace, weight=data.weight)


def fitted(groups, own=(1, 3)):
    derivatives = [lambda at, group=group: purchase_derivatives(at, group) for group in groups]
    found = fit_groups(derivatives, own, START)
    assert found is not None
    return found


@pytest.mark.parametrize(("n", "tolerance"), [(2_000, 0.30), (32_000, 0.075)])
def test_paces_of_groups_are_recovered_ever_closer(n, tolerance):
    paces = (0.5, 1.0, 2.0, 1.0)
    logs, covariance = fitted([paced(n, pace, 10 + k) for k, pace in enumerate(paces)])
    errors = logs[:4, 1] - np.log(8.0 / np.array(paces))
    assert np.abs(errors).max() < tolerance  # about three standard errors, and quartered with sixteen times the data
    assert np.ptp(logs[:4, 0]) == 0.0  # the shape of the rates is shared
    assert (np.abs(errors) < 3.5 * np.sqrt(covariance[:4, 1, 1])).all()


def test_equal_groups_are_drawn_to_the_fit_of_all():
    groups = [bg_nbd(2_000, 30 + k) for k in range(6)]
    logs, covariance = fitted(groups)
    together = Histories(
        **{name: np.concatenate([getattr(g, name) for g in groups]) for name in ("x", "recency", "age", "weight")}
    )
    everybody = climb(lambda at: purchase_derivatives(at, together), START)
    assert everybody is not None
    alone = [climb(lambda at, g=g: purchase_derivatives(at, g), START)[0][1] for g in groups]
    apart, together_apart = np.linalg.norm(np.array(alone) - everybody[0][1]), np.linalg.norm(logs[:6, 1] - logs[6, 1])
    assert together_apart < 0.7 * apart  # not to nothing: a prior worth one group lets groups differ by a tenth
    np.testing.assert_allclose(logs[6], everybody[0], atol=0.05)
    assert covariance[6, 1, 1] > covariance[:6, 1, 1].min()  # of a group nobody has seen less is known


def test_a_small_group_leans_on_the_others_and_a_large_one_does_not():
    others = [paced(6_000, pace, 50 + k) for k, pace in enumerate((1.0, 1.1, 0.9))]
    truth = np.log(8.0 / 4.0)
    found = {n: fitted([*others, paced(n, 4.0, 53)])[0] for n in (15, 6_000)}
    to_truth = {n: abs(logs[3, 1] - truth) for n, logs in found.items()}
    to_others = {n: logs[:3, 1].mean() - logs[3, 1] for n, logs in found.items()}
    assert to_truth[6_000] < 0.15 < to_truth[15]
    assert 0.0 < to_others[15] < 0.7 * to_others[6_000]


def test_the_order_of_groups_does_not_matter():
    groups = [paced(1_000, pace, 60 + k) for k, pace in enumerate((0.5, 1.0, 2.0))]
    forth, back = fitted(groups)[0], fitted(groups[::-1])[0]
    np.testing.assert_allclose(forth[:3], back[:3][::-1], atol=1e-7)
