"""Planted faults: pure, from their generator alone, in the table they name, one for every kind of check."""

from functools import cache

import numpy as np
import polars as pl
import pytest

from models.company.faults import FAULTS, ROW_FAULTS, TABLE_FAULTS, Fault, ledger_of, source_of
from models.company.history import run_history
from models.company.tables import source_tables
from models.company.world import CompanyConfig, draw_world


@cache
def tables() -> dict[str, pl.DataFrame]:
    return source_tables(run_history(draw_world(CompanyConfig(seed=901, weeks=30, customers=1000, dirt=False))))


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_fault_changes_its_table_only_and_the_same_way_each_time(fault: Fault) -> None:
    before = {name: frame.clone() for name, frame in tables().items()}
    planted = fault.plant(tables(), np.random.default_rng(1))
    assert all(tables()[name].equals(before[name]) for name in before)  # the clean tables stay
    changed = {name for name, frame in planted.items() if name not in before or not frame.equals(before[name])}
    assert {source_of(name) for name in changed} == {fault.source}
    again = fault.plant(tables(), np.random.default_rng(1))
    assert all(planted[name].equals(again[name]) for name in planted)


def test_random_faults_follow_their_generator() -> None:
    plant = FAULTS["negative_cost"].plant
    one, two = (plant(tables(), np.random.default_rng(seed))["ad_spend"]["cost"] for seed in (1, 2))
    assert (one < 0).sum() == (two < 0).sum() == 3
    assert not one.equals(two)


def test_there_are_many_kinds_and_no_name_twice() -> None:
    assert len(FAULTS) == len(ROW_FAULTS) + len(TABLE_FAULTS) >= 25
    assert {fault.severity for fault in FAULTS.values()} == {"error", "warning"}


def test_the_ledger_books_what_was_spent() -> None:
    ads = tables()["ad_spend"]
    ledger = ledger_of(ads)
    assert ledger["cost"].sum() == pytest.approx(ads["cost"].sum(), abs=0.01 * len(ledger))  # a cent of rounding each
    assert ledger.select("date", "channel").is_unique().all()
    assert (ledger["date"].dt.day() == 1).all()
