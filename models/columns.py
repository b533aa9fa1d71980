"""Which of a file's columns are the contract's."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import yaml

from models.contracts import Contract
from models.errors import ConfigError, DataError
from models.presets import (
    AUTO,
    CURRENCY,
    PRESETS,
    Matched,
    Preset,
    detect_preset,
    find_name,
    index_names,
    named_currency,
    plain,
)
from models.sources import SourceConfig

NEAR = 0.5  # difflib ratio from which a name is worth suggesting; 0.6, its default, misses "costs_eur" for "cost"
COMPARED = 500  # names looked at for the nearest one: a file with more has no header
SHOWN = 30  # names that a message lists before it says how many more there are
KNOWN_SHOWN = 6  # names of a preset that a message lists; more hide the sentence
COMPLETE = 1000  # more than a contract has columns: a line with all that is needed beats any other
NAME_SHOWN = 80  # characters of a name that are shown and compared; the longest of a platform has 54


def check_mapping(contract: Contract, source: SourceConfig) -> None:
    """Refuse a mapping, constant or preset that does not fit the contract.

    Raises
    ------
    ConfigError : `columns` or `constants` name a column of ours that does not exist, or `preset` names none, or one of
        another source.
    """
    names = [column.name for column in contract.columns]
    for key, given in (("columns", source.columns), ("constants", source.constants)):
        for ours in given:
            if ours not in names:
                raise ConfigError(
                    f"sources.{contract.name}.{key}: {contract.name} has no column {_shown(ours)!r}"
                    f"{_did_you_mean(ours, names)}.\n"
                    f"Write our name first, then the {"file's" if key == 'columns' else 'value'}; "
                    f"ours are {', '.join(names)}."
                )
    if source.preset is not None and source.preset != AUTO:
        _check_preset(contract, source.preset)


def _check_preset(contract: Contract, name: str) -> None:
    fitting = [known for known, preset in PRESETS.items() if preset.table == contract.name]
    preset = PRESETS.get(name)
    if preset is None:
        raise ConfigError(
            f"sources.{contract.name}.preset: there is no preset {name!r}{_did_you_mean(name, [*PRESETS, AUTO])}.\n"
            f"Expected one of {', '.join([*PRESETS, AUTO])}; or leave it out and map the file's names with `columns`."
        )
    if preset.table != contract.name:
        here = f"expected {' or '.join([*fitting, AUTO])} here" if fitting else f"there is none for {contract.name}"
        raise ConfigError(
            f"sources.{contract.name}.preset: {name} reads exports that hold {preset.table}; {here}.\n"
            f"Write these files under sources.{preset.table}, or leave the preset out and map names with `columns`."
        )


def match_columns(contract: Contract, source: SourceConfig, available: Iterable[str], file: str) -> Matched:
    """How the columns of a file become those of the contract.

    Names agree when they do apart from case and the width of blanks. The source's `columns` go first, then its
    `constants` (a column of the file that bears our very name goes before them), then the names that the preset knows,
    then our own names, then the preset's constants.

    Raises
    ------
    DataError : a required or a mapped column is not in the file; the message gives the nearest name.
    """
    found = list(available)
    search = _search(contract, source, found)
    if search.missing:
        raise DataError(_message(contract, source, search, found, file))
    return search.matched


def matched_so_far(
    contract: Contract, source: SourceConfig, available: Iterable[str]
) -> tuple[Matched, tuple[str, ...]]:
    """As `match_columns`, without complaint: what matches, and the columns of ours that are required and missing."""
    search = _search(contract, source, list(available))
    return search.matched, search.missing


def header_score(contract: Contract, source: SourceConfig, cells: Sequence[str]) -> int:
    """How well a line of a file fits as its header: the more columns it names the better, 0 where it names none.

    A line that names all required columns scores above each that does not.
    """
    search = _search(contract, source, [cell for cell in cells if cell.strip()])
    named = len(search.matched.names)
    return named + COMPLETE * (not search.missing) if named else 0


@dataclass(frozen=True, kw_only=True)
class _Search:
    """What is found, what is required or mapped and not found, and the preset that was used."""

    matched: Matched
    missing: tuple[str, ...]
    preset: Preset | None
    preset_name: str | None


def _search(contract: Contract, source: SourceConfig, found: list[str]) -> _Search:
    preset_name = detect_preset(found, contract.name) if source.preset == AUTO else source.preset
    preset = PRESETS.get(preset_name or "")
    index = index_names(found)
    names: dict[str, str] = {}
    transforms: dict[str, str] = {}
    constants: dict[str, str] = {}
    missing: list[str] = []
    currency = None
    for column in contract.columns:
        ours = column.name
        known = preset.names.get(ours, {}) if preset else {}
        theirs = _theirs(ours, source, known, index)
        constant = _constant(ours, source, preset)
        if theirs is not None:
            names[ours] = theirs
            then = _transform(theirs, known)
            if then:
                transforms[ours] = then
            currency = currency or _currency(theirs, known)
        elif ours in source.columns:
            missing.append(ours)
        elif constant is not None:
            constants[ours] = constant
        elif column.required:
            missing.append(ours)
    continuation = (
        next((name for known in preset.continuation if (name := find_name(known, index))), None) if preset else None
    )
    matched = Matched(
        names=names, transforms=transforms, constants=constants, currency=currency, continuation=continuation
    )
    return _Search(matched=matched, missing=tuple(missing), preset=preset, preset_name=preset_name)


def _theirs(ours: str, source: SourceConfig, known: Mapping[str, str], index: Mapping[str, str]) -> str | None:
    """The file's name of a column of ours, if it has one."""
    if ours in source.columns:
        return find_name(source.columns[ours], index)
    candidates = (ours,) if ours in source.constants else (*known, ours)
    return next((name for wanted in candidates if (name := find_name(wanted, index)) is not None), None)


def _constant(ours: str, source: SourceConfig, preset: Preset | None) -> str | None:
    return source.constants.get(ours, preset.constants.get(ours) if preset else None)


def _transform(theirs: str, known: Mapping[str, str]) -> str:
    """What is done to the values of a column: what the preset says of its name.

    A name that the preset does not know may still hold what names a person.
    """
    then = next((then for name, then in known.items() if find_name(name, index_names([theirs])) is not None), None)
    if then is None:
        return "hash" if "hash" in known.values() else ""
    return then


def _currency(theirs: str, known: Mapping[str, str]) -> str | None:
    return next((code for name in known if (code := named_currency(name, theirs)) is not None), None)


def _message(contract: Contract, source: SourceConfig, search: _Search, found: list[str], file: str) -> str:
    """What to say of the first column that is missing."""
    ours = search.missing[0]
    known = search.preset.names.get(ours, {}) if search.preset else {}
    wanted = [source.columns[ours]] if ours in source.columns else [ours, *known]
    taken = {*search.matched.names.values()}
    nearest = nearest_name(wanted, [name for name in found if name not in taken])
    theirs = _yaml(nearest) if nearest and len(nearest) <= NAME_SHOWN else "<the file's name for it>"
    shown = ", ".join(map(_shown, found[:SHOWN])) + (f" and {len(found) - SHOWN} more" if len(found) > SHOWN else "")
    optional = f"; it may have {', '.join(contract.optional)}" if contract.optional else ""
    lacks, expected = f"column {_shown(wanted[0])!r}", f"{', '.join(contract.required)}{optional}"
    advice = f"Nearest is {_shown(nearest)!r}." if nearest else "No name comes near it."
    if search.preset and ours not in source.columns:
        lacks = f"column for {ours}"
        names = [name for name in known if "{" not in name] + [name for name in known if "{" in name]
        more = ", …" if len(names) > KNOWN_SHOWN else ""
        expected = f"one of {', '.join(names[:KNOWN_SHOWN]) or ours}{more} (preset {search.preset_name})"
        hint = search.preset.advice.get(ours)
        advice = f"{advice} {hint}" if hint else advice
    return (
        f"{contract.name}: {file} has no {lacks}; found {shown}.\n"
        f"Expected {expected}.\n"
        f"{advice} If it is that column under another name, add to marginal.yaml:\n"
        f"  sources: {{{contract.name}: {{columns: {{{ours}: {theirs}}}}}}}"
    )


def nearest_name(wanted: Iterable[str], available: Iterable[str]) -> str | None:
    """The name among `available` that is most like one of those wanted; None where none comes near."""
    sought = [plain(name.replace(CURRENCY, "").replace("()", "")) for name in wanted]
    ranked = [
        (max(difflib.SequenceMatcher(None, name, plain(other[:NAME_SHOWN])).ratio() for name in sought), other)
        for other in islice(available, COMPARED)
        if sought
    ]
    best = max(ranked, key=lambda pair: pair[0], default=(0.0, ""))
    return best[1] if best[0] >= NEAR else None


def _yaml(text: str) -> str:
    """A name as it stands in YAML, quoted where it must be."""
    try:
        is_plain = yaml.safe_load(f"{{name: {text}}}") == {"name": text}
    except yaml.YAMLError:
        is_plain = False
    quoted: str = yaml.safe_dump(text, default_style='"', allow_unicode=True, width=float("inf")).strip()
    return text if is_plain else quoted


def _shown(name: str) -> str:
    """A name as a message shows it: on one line, not endless."""
    return " ".join(name[:NAME_SHOWN].split()) + ("…" if len(name) > NAME_SHOWN else "")


def _did_you_mean(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=NEAR)
    return f"; did you mean {near[0]!r}?" if near else ""
