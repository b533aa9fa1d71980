"""Which of a file's columns are the contract's."""

import difflib
from collections.abc import Iterable, Mapping

from models.contracts import Contract
from models.errors import ConfigError, DataError
from models.sources import SourceConfig

NEAR = 0.5  # difflib ratio from which a name is worth suggesting; 0.6, its default, misses "costs_eur" for "cost"
SHOWN = 30  # names that a message lists before it says how many more there are


def check_mapping(contract: Contract, source: SourceConfig) -> None:
    """Refuse a mapping of columns that the contract does not have.

    Raises
    ------
    ConfigError : `columns` names a column of ours that does not exist.
    """
    names = [column.name for column in contract.columns]
    for ours in source.columns:
        if ours not in names:
            raise ConfigError(
                f"sources.{contract.name}.columns: {contract.name} has no column {ours!r}"
                f"{_did_you_mean(ours, names)}.\n"
                f"Write our name first, then the file's; ours are {', '.join(names)}."
            )


def match_columns(contract: Contract, source: SourceConfig, available: Iterable[str], file: str) -> dict[str, str]:
    """Our column name -> the file's, for the columns of the contract that the file has.

    Names agree when they do apart from case and blanks around them; the source's mapping goes first.

    Raises
    ------
    DataError : a required or a mapped column is not in the file; the message gives the nearest name.
    """
    found = list(available)
    by_name = {_plain(name): name for name in found}
    matched: dict[str, str] = {}
    for column in contract.columns:
        wanted = source.columns.get(column.name, column.name)
        theirs = wanted if wanted in found else by_name.get(_plain(wanted))
        if theirs is not None:
            matched[column.name] = theirs
        elif column.required or column.name in source.columns:
            raise DataError(_missing(contract, source.columns, column.name, wanted, found, file))
    return matched


def _plain(name: str) -> str:
    return name.strip().casefold()


def _missing(
    contract: Contract, mapping: Mapping[str, str], ours: str, wanted: str, found: list[str], file: str
) -> str:
    taken = {_plain(mapping.get(column.name, column.name)) for column in contract.columns}
    free = [name for name in found if _plain(name) not in taken]
    near = difflib.get_close_matches(_plain(wanted), [_plain(name) for name in free], n=1, cutoff=NEAR)
    nearest = next((name for name in free if near and _plain(name) == near[0]), None)
    theirs = nearest or "<the file's name for it>"
    shown = ", ".join(found[:SHOWN]) + (f" and {len(found) - SHOWN} more" if len(found) > SHOWN else "")
    advice = f"Nearest is {nearest!r}." if nearest else "No name comes near it."
    optional = f"; it may have {', '.join(contract.optional)}" if contract.optional else ""
    return (
        f"{contract.name}: {file} has no column {wanted!r}; found {shown}.\n"
        f"Expected {', '.join(contract.required)}{optional}.\n"
        f"{advice} If it is that column under another name, add to marginal.yaml:\n"
        f"  sources: {{{contract.name}: {{columns: {{{ours}: {theirs}}}}}}}"
    )


def _did_you_mean(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=NEAR)
    return f"; did you mean {near[0]!r}?" if near else ""
