"""The starter workspace, empty or made from files that are there."""

import filecmp
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import yaml

from models.contracts import Contract
from models.errors import ConfigError, DataError
from models.guess import Guess, guess, likeness
from models.presets import AUTO
from models.sources import SourceConfig
from tasks import ledger
from tasks.files import write_atomically
from tasks.readers import scanned
from tasks.source_files import find_files

SAMPLE_ROWS = 50  # enough to see what a column's values look like
LANDING = "landing"
NOT_IN_A_COMMENT = re.compile(
    r"[^\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd]"
)  # what YAML may break at

HEAD = """\
# A Marginal workspace. The smallest valid file names a company and one source; all the rest has working defaults.
company: My Company
"""
SETTINGS = """\
# as_of: 2026-01-31        # last day to look at; by default the latest day in the data
# seed: 20260101           # the same seed, data and config give the same results
"""
SOURCES = """\
  # Needed for a plan: spend per day (or week) and channel, with the columns date, channel, cost.
  # If your file names them otherwise, map ours to yours.
  ad_spend:
    path: landing/ad_spend.csv
    # columns: {date: Day, channel: Campaign type, cost: Cost}
  # ... and what it is to move: a KPI per day (or week) with date, value, or else orders to build it from.
  kpi: landing/kpi.csv
"""
MORE_SOURCES = {  # what else may stand under sources
    "ad_spend": "date, channel, cost: needed for a plan",
    "kpi": "date, value: what spend is to move; or else orders",
    "orders": "order_id, customer_id, ordered_at, revenue: switches on customer value",
    "customers": "customer_id, acquired_at, channel: customer value per channel",
    "controls": "date, name, value: price, promotion, competitors, search demand",
    "lift_tests": "channel, start_date, end_date, spend_change, lift, lift_se: calibration",
    "bids": "date, keyword, bid, impressions, clicks, cost: watches bid elasticity",
}
TAIL = """
# allocation:
#   total: 20000             # per week; by default as much as in the last quarter
#   floors: {brand_search: 1000}
#   caps: {video: 5000}
#   max_change_fraction: 0.3
#   margin_fraction: 0.6     # of revenue, left to pay for media

# alerts:
#   webhook_url:             # a secret: set MARGINAL__ALERTS__WEBHOOK_URL instead of writing it here
"""


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A file of the new workspace and what it seems to be; `why_not` says why it stands under no source."""

    path: str
    guess: Guess
    why_not: str | None = None

    @property
    def line(self) -> str:
        """The file in a line."""
        if self.why_not is not None or self.guess.table is None:
            return f"{self.path}: not placed; {self.why_not}"
        preset = f" ({self.guess.preset})" if self.guess.preset else ""
        return f"{self.path}: {self.guess.table}{preset}{'' if self.guess.sure else ', not sure'}"


def write_starter(directory: Path, files: Sequence[Path] = ()) -> tuple[Placed, ...]:
    """Write `marginal.yaml` and `landing/`; files are copied there and named in the YAML as what they seem to be.

    Raises
    ------
    ConfigError : there is a marginal.yaml already (it is left alone), or a file is none or cannot be copied.
    """
    target = directory / "marginal.yaml"
    if target.exists():
        raise ConfigError(f"{target} exists already; expected a new folder.\nName another one, or edit that file.")
    for file in files:
        if not file.is_file():
            kind = "is a folder" if file.is_dir() else "does not exist"
            raise ConfigError(
                f"{file} {kind}; expected the files to start from.\nName each, as in: --from exports/*.csv"
            )
    landing = directory / LANDING
    landing.mkdir(parents=True, exist_ok=True)
    copies = dict.fromkeys(_copied(file, landing) for file in files)  # a file named twice is one
    contracts = _contracts()
    placed = _one_mapping_each([_placed(copy, directory, contracts) for copy in copies])
    write_atomically(target, _written(placed))
    return tuple(placed)


def _contracts() -> tuple[Contract, ...]:
    names = sorted(path.name.removesuffix(".odcs.yaml") for path in ledger.CONTRACTS.glob("raw_*.odcs.yaml"))
    return tuple(ledger.read_contract(name.replace("_", ".", 1)) for name in names)


def _copied(file: Path, landing: Path) -> Path:
    """The file's copy in the landing folder; one of the same name but other bytes there is left alone."""
    name, number = file.name, 1
    stem, dot, ending = name.partition(".")
    try:
        while (copy := landing / name).exists():
            if copy.samefile(file) or filecmp.cmp(copy, file, shallow=False):
                return copy
            number += 1
            name = f"{stem}-{number}{dot}{ending}"
        partial = copy.with_name(copy.name + ".partial")
        shutil.copyfile(file, partial)
        partial.replace(copy)
    except OSError as error:
        raise ConfigError(f"{file} cannot be copied into {landing}: {error.strerror}.") from error
    return copy


def _placed(copy: Path, directory: Path, contracts: Sequence[Contract]) -> Placed:
    path = copy.relative_to(directory).as_posix()
    try:
        header, sample = _head(path, directory, contracts)
    except DataError as error:
        return Placed(
            path=path, guess=Guess(table=None), why_not=str(error).splitlines()[0].removeprefix(f"sources.{LANDING}: ")
        )
    found = guess(header, sample, contracts)
    return Placed(path=path, guess=found, why_not=None if found.table else "; ".join(found.reasons))


def _head(path: str, directory: Path, contracts: Sequence[Contract]) -> tuple[list[str], list[dict[str, str]]]:
    """A file's columns and its first rows, as text.

    Raises
    ------
    DataError : it is empty, of an unknown kind or not of the kind its name says.
    """
    source = SourceConfig(path=path)
    (file,) = find_files(LANDING, source, directory, allow_outside=False)
    with (
        duckdb.connect() as con,
        scanned(con, file, source, LANDING, lambda cells: likeness(cells, contracts)) as scan,
    ):
        rows = con.execute(f"select columns(*)::varchar from {scan.relation} limit {SAMPLE_ROWS}").fetchall()
    header = list(scan.types)
    return header, [{name: cell or "" for name, cell in zip(header, row, strict=False)} for row in rows]


def _one_mapping_each(placed: Sequence[Placed]) -> list[Placed]:
    """A source has one mapping: of its files, those that most share it are placed."""
    mappings: dict[str | None, Counter[tuple]] = {}
    for file in placed:
        mappings.setdefault(file.guess.table, Counter())[_mapping(file.guess)] += 1
    chosen = {table: counts.most_common(1)[0][0] for table, counts in mappings.items()}
    why = "its columns have other names than those of the other files of {}; rename them, or write one file of both"
    return [
        file
        if file.why_not is not None or _mapping(file.guess) == chosen[file.guess.table]
        else Placed(path=file.path, guess=file.guess, why_not=why.format(file.guess.table))
        for file in placed
    ]


def _mapping(found: Guess) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(found.columns.items()))


def _written(placed: Sequence[Placed]) -> str:
    """The workspace's YAML."""
    tables: dict[str, list[Placed]] = {}
    for file in placed:
        if file.why_not is None and file.guess.table is not None:
            tables.setdefault(file.guess.table, []).append(file)
    lines = [line for table, files in tables.items() for line in _source_lines(table, files)]
    lines += _unplaced_lines([file for file in placed if file.why_not is not None])
    body = "".join(f"  {line}\n" for line in lines)
    if not tables:
        body += SOURCES
    shown = tables or {"ad_spend": [], "kpi": []}
    for table, columns in MORE_SOURCES.items():
        if table not in shown:
            body += f"  # {f'{table}: {LANDING}/{table}.csv':36}# {columns}\n"
    return f"{HEAD}{_currency_line(placed)}{SETTINGS}\nsources:\n{body}{TAIL}"


def _currency_line(placed: Sequence[Placed]) -> str:
    codes = Counter(file.guess.currency for file in placed if file.guess.currency and file.why_not is None)
    if not codes:
        return "currency: EUR\n"
    first, *others = [code for code, _ in codes.most_common()]
    also = f" {', '.join(others)} in others: amounts in it need exchange rates;" if others else ""
    return f"currency: {first}  # guessed: amounts of the files are in it;{also} check\n"


def _source_lines(table: str, files: Sequence[Placed]) -> list[str]:
    presets = {file.guess.preset for file in files}
    lines = [
        _comment(
            f"# guessed{'' if file.guess.sure else ', not sure'}: "
            f"{f'{file.path}: ' if len(files) > 1 else ''}{'; '.join(file.guess.reasons)}, check"
        )
        for file in files
    ]
    paths = [file.path for file in files]
    lines += [f"{table}:", f"  path: {_flow(paths if len(paths) > 1 else paths[0])}"]
    if presets != {None}:
        preset = next(iter(presets)) if len(presets) == 1 else AUTO
        many = "  # several platforms: the header of each file tells which one" if len(presets) > 1 else ""
        lines.append(f"  preset: {preset}{many}")
    if files[0].guess.columns:
        lines.append(f"  columns: {_flow(dict(files[0].guess.columns))}")
    return lines


def _unplaced_lines(files: Iterable[Placed]) -> list[str]:
    lines = []
    for file in files:
        lines.append(f"# {_comment(file.path)} was not placed: {_comment(file.why_not or '')}")
        if file.guess.table:
            columns = f", columns: {_flow(dict(file.guess.columns))}" if file.guess.columns else ""
            lines.append(_comment(f"# {file.guess.table}: {{path: {_flow(file.path)}{columns}}}"))
    return lines


def _flow(value: str | Sequence[str] | Mapping[str, str]) -> str:
    """A value as YAML on one line."""
    text: str = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=float("inf"), sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")


def _comment(text: str) -> str:
    """Words for a comment: names from files may hold what would end it."""
    return NOT_IN_A_COMMENT.sub(" ", text)
