"""Thousands of damaged files: each is refused in plain words or loaded with every row accounted for."""

import csv
import io
import os
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.torture.mutations import EVIL, NAMES, Input, make_input
from tests.torture.seeds import Seed, corpus, records
from tests.torture.watchdog import Watched

SHORT, LONG = 500, 10_000  # inputs under `make test` and under `make soak`
CHECK_EVERY = 8  # of the inputs that load; checking costs four times what loading does
AGAIN_EVERY = 20  # inputs that are loaded a second time
SEEDS = corpus()


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with Watched(tmp_path_factory.mktemp("watched")) as child:
        yield child


def run_inputs(numbers: range, folder: Path, check_every: int) -> list[tuple[Input, dict[str, Any]]]:
    """The answers to a range of inputs, from one child."""
    folder.mkdir()
    with Watched(folder) as child:
        return [
            (
                one,
                child.judge(one, also_check=one.number % check_every == 0, again=one.number % AGAIN_EVERY == 0),
            )
            for one in (make_input(number, SEEDS) for number in numbers)
        ]


def report(answers: list[tuple[Input, dict[str, Any]]]) -> str:
    """The corpus and the counts, as printed in the test's output."""
    outcomes = Counter(answer["outcome"] for _, answer in answers)
    kinds = Counter(seed.suffix for seed in SEEDS)
    checked = sum(answer["checked"] for _, answer in answers)
    slowest = max(answers, key=lambda pair: pair[1]["seconds"])
    return (
        f"\nmutated inputs: {len(answers)} from {len(SEEDS)} files "
        f"({', '.join(f'{count} {kind}' for kind, count in kinds.most_common())}) and {len(NAMES)} mutations: "
        f"{outcomes['loaded']} loaded ({checked} also checked), {outcomes['refused']} refused, "
        f"{outcomes['bug']} tracebacks, {outcomes['lost']} hangs or crashes; "
        f"slowest {slowest[1]['seconds']:.1f} s ({slowest[0].story})\n"
    )


def told(answers: list[tuple[Input, dict[str, Any]]]) -> str:
    """Every broken law, the rarest kinds too."""
    return "\n".join(
        f"input {one.number} ({one.story}; {one.table}), saved as {answer['saved']}: {'; '.join(answer['broken'])}"
        for one, answer in answers
        if answer["broken"]
    )


def hold_many(count: int, folder: Path, check_every: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Judge the first `count` inputs, one child a core, and say what they were."""
    lanes = os.cpu_count() or 1
    with ThreadPoolExecutor(lanes) as pool:
        parts = pool.map(
            run_inputs,
            [range(lane, count, lanes) for lane in range(lanes)],
            [folder / f"lane-{lane}" for lane in range(lanes)],
            [check_every] * lanes,
        )
        answers = [pair for part in parts for pair in part]
    with capsys.disabled():
        sys.stdout.write(report(answers))
    assert len(answers) == count
    assert not told(answers), told(answers)


def test_mutated_inputs_are_refused_or_loaded_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hold_many(SHORT, tmp_path, CHECK_EVERY, capsys)


@pytest.mark.parametrize("number", [610, 1869], ids=["ten thousand columns and a bad row", "a name without an end"])
def test_inputs_that_once_broke_a_law(watched: Watched, number: int) -> None:
    """The first took minutes to set one row aside, the second's message held six thousand characters."""
    answer = watched.judge(make_input(number, SEEDS), also_check=False)
    assert not answer["broken"], answer["broken"]


@pytest.mark.soak
def test_ten_thousand_mutated_inputs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hold_many(LONG, tmp_path, CHECK_EVERY, capsys)


@pytest.mark.parametrize("seed", [seed for seed in SEEDS if seed.rows is not None], ids=lambda seed: seed.name)
def test_each_file_of_the_corpus_loads_whole(watched: Watched, seed: Seed) -> None:
    one = Input(
        number=0,
        suffix=seed.suffix,
        content=seed.content,
        table=seed.table,
        options=seed.options,
        story="",
        rows=seed.rows,
    )
    answer = watched.judge(one, also_check=False)
    assert (answer["outcome"], answer["broken"]) == ("loaded", []), answer


# ---- by structure: Hypothesis makes the tables and finds the smallest one that breaks a law

EVILS = sorted({value for values in EVIL.values() for value in values})
CELLS = st.one_of(
    st.sampled_from(EVILS),
    st.text(max_size=20),
    st.floats().map(repr),
    st.dates().map(str),
    st.integers().map(str),
)


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[list[str]], dict[str, Any]]:
    """A plain spend table with strange cells, columns and rows in it, and the dialect it is written in."""
    rows = [list(map(str, row.values())) for row in records("ad_spend", 40)]
    rows = draw(st.permutations(rows))[: draw(st.integers(1, 40))]
    rows += draw(st.lists(st.sampled_from(rows), max_size=3))
    for _ in range(draw(st.integers(0, 3))):
        row = draw(st.integers(0, len(rows) - 1))
        rows[row] = list(rows[row])
        rows[row][draw(st.integers(0, 5))] = draw(CELLS)
    names = list(records("ad_spend", 1)[0])
    if draw(st.booleans()):
        names.append(draw(st.one_of(st.sampled_from(EVIL["name"] + EVIL["sql"]), st.text(max_size=12))))
        rows = [[*row, draw(CELLS)] if number < 3 else [*row, "x"] for number, row in enumerate(rows)]
    dialect = {
        "delimiter": draw(st.sampled_from(",;\t|")),
        "quoting": draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])),
        "lineterminator": draw(st.sampled_from(["\n", "\r\n"])),
    }
    return [names, *rows], dialect


ENCODED = st.sampled_from(["utf-8", "utf-8-sig", "utf-16"])


def hold(watched: Watched, table: list[list[str]], dialect: dict[str, Any], encoding: str) -> None:
    """Load a strange table and hold it to the laws."""
    text = io.StringIO()
    csv.writer(text, **dialect).writerows(table)
    one = Input(
        number=1,
        suffix=".csv",
        content=text.getvalue().encode(encoding, errors="replace"),
        table="ad_spend",
        story=f"a strange table in {encoding}",
    )
    answer = watched.judge(one, also_check=False)
    assert not answer["broken"], answer
    if answer["outcome"] == "loaded":
        assert answer["read"] >= len(table) - 1, answer  # rows, whatever stands in their cells


@given(made=tables(), encoding=ENCODED)
@settings(max_examples=100)
def test_strange_tables_are_refused_or_loaded_whole(
    watched: Watched, made: tuple[list[list[str]], dict[str, Any]], encoding: str
) -> None:
    hold(watched, *made, encoding)


@pytest.mark.soak
@given(made=tables(), encoding=ENCODED)
@settings(max_examples=2000)
def test_two_thousand_strange_tables(
    watched: Watched, made: tuple[list[list[str]], dict[str, Any]], encoding: str
) -> None:
    hold(watched, *made, encoding)
