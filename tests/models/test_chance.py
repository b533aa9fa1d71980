"""A plan that reaches its ROAS with a probability: what is said where none is found."""

import numpy as np
import pytest

from models.certificate import Certificate
from models.chance import meet_probability
from models.mixed_integer import Unproven
from models.problem import NoPlan

FREE = Certificate(spend=np.array([1.0]), value=2.0, upper_bound=2.0, node_count=1)


@pytest.mark.parametrize("failure", [NoPlan, Unproven])
def test_a_search_that_ended_without_a_proof_is_told_apart_from_rules_that_conflict(failure: type[NoPlan]) -> None:
    def plan_with(share: float) -> Certificate:
        raise failure if share < 0.5 else NoPlan

    with pytest.raises(NoPlan) as told:
        meet_probability(FREE, plan_with, lambda _: 0.0, 0.9, 1000)
    assert told.type is failure
