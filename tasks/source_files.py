"""The files behind a source: found, kept inside the workspace, fingerprinted."""

import hashlib
import importlib.util
import json
import time
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from models.errors import ConfigError, DataError
from models.sources import SourceConfig
from tasks.files import write_atomically

PACKAGE = "package:"
COMPRESSED = ".gz"
HASHES = ".marginal.hashes.json"
REMEMBERED_BYTES = 8_388_608  # 8 MiB: smaller files are hashed in less time than remembering is worth
SETTLED_NS = 2_000_000_000  # two seconds, the coarsest grain of time stamps in use (FAT)
TEXT, PARQUET, JSON = "text", "parquet", "json"
KINDS = {
    ".csv": TEXT,
    ".tsv": TEXT,
    ".txt": TEXT,
    ".parquet": PARQUET,
    ".pq": PARQUET,
    ".json": JSON,
    ".ndjson": JSON,
    ".jsonl": JSON,
}


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """A file to load; `label` is its name in the warehouse: relative to the workspace where it lies inside."""

    path: Path
    label: str
    kind: str
    sha256: str

    @property
    def is_compressed(self) -> bool:
        """Whether the file is gzipped."""
        return self.path.name.lower().endswith(COMPRESSED)


def find_files(
    table: str,
    source: SourceConfig,
    workspace: Path,
    *,
    allow_outside: bool,
    extracted: Path | None = None,
    may_be_gone: bool = False,
) -> tuple[SourceFile, ...]:
    """The files of a source, each once, in the order of their labels.

    Parameters
    ----------
    extracted : the file with the rows of a database.
    may_be_gone : whether no file at all is fine, since rows of earlier ones are kept.

    Raises
    ------
    ConfigError : a path leaves the workspace, or names a package that is not installed.
    DataError : a path matches no file, or a file is empty or of an unknown kind.
    """
    found: dict[str, Path] = {}
    if extracted is not None:
        found[extracted.relative_to(workspace).as_posix()] = extracted
    for path in source.paths:
        if path.startswith(PACKAGE):
            found[path] = _package_file(table, path)
            continue
        _label(table, path, workspace / path, workspace, allow_outside)  # before anything outside is looked at
        for match in _matches(table, path, workspace, may_be_gone):
            found[_label(table, path, match, workspace, allow_outside)] = match
    hashes = Hashes(workspace)
    files = tuple(_source_file(table, label, found[label], hashes) for label in sorted(found))
    hashes.keep()
    return files


class Hashes:
    """SHA-256 of large files, remembered by size and time of change, so that files that stay cost nothing.

    As git does, a file changed less than a moment before it was hashed is not trusted: a second change within the
    clock's grain would not show. What is remembered is a convenience and may be deleted.
    """

    def __init__(self, workspace: Path) -> None:
        self.store = workspace / HASHES
        try:
            self.known: dict[str, list] = json.loads(self.store.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self.known = {}
        self.before = dict(self.known)

    def of(self, path: Path) -> str:
        """The hash of a file."""
        stat = path.stat()
        if stat.st_size < REMEMBERED_BYTES:
            return file_sha256(path)
        key = str(path.resolve())
        match self.known.get(key):
            case [size, changed, str(sha256)] if (size, changed) == (stat.st_size, stat.st_mtime_ns):
                return sha256
        started = time.time_ns()
        sha256 = file_sha256(path)
        if stat.st_mtime_ns < started - SETTLED_NS:
            self.known[key] = [stat.st_size, stat.st_mtime_ns, sha256]
        return sha256

    def keep(self) -> None:
        """Write down what was learned."""
        if self.known != self.before:
            write_atomically(self.store, json.dumps(self.known))


def suffix_of(path: Path) -> str:
    """The ending that says how a file is read: lower case, without that of a compression."""
    return PurePosixPath(path.name.lower().removesuffix(COMPRESSED)).suffix


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _package_file(table: str, path: str) -> Path:
    package, _, inner = path.removeprefix(PACKAGE).partition("/")
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    roots = [Path(root) for root in spec.submodule_search_locations or ()] if spec else []
    if not roots:
        raise ConfigError(f"sources.{table}: {path!r} names the Python package {package!r}, which is not installed.")
    for root in roots:
        file = (root / inner).resolve()
        if file.is_file() and file.is_relative_to(root.resolve()):
            return file
    raise DataError(f"sources.{table}: the package {package} has no file {inner!r}; looked in {roots[0]}.")


def _matches(table: str, path: str, workspace: Path, may_be_gone: bool) -> list[Path]:
    """Files that a path, folder or glob stands for."""
    target = workspace / path
    if may_be_gone and not target.exists() and not any(mark in path for mark in "*?["):
        return []
    if target.is_file():
        return [target]
    if target.is_dir():
        matches = [file for file in target.iterdir() if file.is_file() and suffix_of(file) in KINDS]
        where, wanted = f"the folder {path!r}", f"files ending in {', '.join(KINDS)} (also with {COMPRESSED})"
    elif any(mark in path for mark in "*?["):
        base = Path(target.anchor) if Path(path).is_absolute() else workspace
        matches = [file for file in base.glob(str(target.relative_to(base))) if file.is_file()]
        where, wanted = f"{path!r}", "at least one file"
    else:
        raise DataError(_missing(table, path, target, workspace))
    if not matches and not may_be_gone:
        raise DataError(
            f"sources.{table}: {where} matches no file in {workspace}; expected {wanted}.\n"
            f"Put the files there, or correct the path of {table} in marginal.yaml."
        )
    return matches


def _missing(table: str, path: str, target: Path, workspace: Path) -> str:
    folder = target.parent
    there = sorted(file.name for file in folder.iterdir())[:10] if folder.is_dir() else None  # ten names fit a line
    beside = "its folder does not exist" if there is None else f"its folder holds: {', '.join(there) or 'nothing'}"
    return (
        f"sources.{table}: there is no file {path!r} in {workspace}; {beside}.\n"
        f"Put the file there, or correct the path of {table} in marginal.yaml."
    )


def _label(table: str, path: str, file: Path, workspace: Path, allow_outside: bool) -> str:
    """The file's name relative to the workspace; links are followed, so none leads out of it."""
    real, root = file.resolve(), workspace.resolve()
    if real.is_relative_to(root):
        return real.relative_to(root).as_posix()
    if allow_outside:
        return real.as_posix()
    raise ConfigError(
        f"sources.{table}: {path!r} leaves the workspace ({real}); expected a path inside {root}.\n"
        "Copy the file into landing/, or write `allow_outside: true` in marginal.yaml."
    )


def _source_file(table: str, label: str, path: Path, hashes: Hashes) -> SourceFile:
    kind = KINDS.get(suffix_of(path))
    if kind is None:
        raise DataError(
            f"sources.{table}: {label} is of a kind that is not read; expected a name ending in {', '.join(KINDS)}"
            f" (also with {COMPRESSED}).\nExport it as CSV or Parquet."
        )
    if path.stat().st_size == 0:
        raise DataError(
            f"sources.{table}: {label} is empty (0 bytes); expected a header and rows.\n"
            "Export it again, or take it out of the folder."
        )
    return SourceFile(path=path, label=label, kind=kind, sha256=hashes.of(path))
