"""The house rules that a machine can check; the import rules themselves are checked by import-linter."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("flows", "tasks", "models")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
PYTHON = sorted([*SOURCES, *(path for folder in ("tests", "benchmarks") for path in (ROOT / folder).rglob("*.py"))])
QUERIES = sorted((ROOT / "sql").rglob("*.sql"))
HEADER = re.compile(
    r"\A-- (?P<purpose>\S.*)\n(-- .*\n)*?-- grain: \S.*\n(-- .*\n)*?-- units: \S.*\n(-- .*\n)*?-- owner: \S.*\n"
)
LINES_MAX = 400
BEGIN = r"(?<![\w.:/-])"  # of a path, not the middle of an address
MACHINE_PATH = re.compile(BEGIN + r"/(work|tmp|home|root|Users|mnt)/\w")


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def calls_and_names(path: Path) -> Iterator[tuple[int, str]]:
    """Every dotted name in a file with its line: `datetime.now` for a call of datetime.datetime.now too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute):
            yield node.lineno, ast.unparse(node)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)


def uses(path: Path, forbidden: re.Pattern[str]) -> list[str]:
    return [f"{name(path)}:{line} {used}" for line, used in calls_and_names(path) if forbidden.search(used)]


@pytest.mark.parametrize("query", QUERIES, ids=name)
def test_a_sql_file_is_one_select_with_a_header(query: Path) -> None:
    text = query.read_text(encoding="utf-8")
    assert HEADER.match(text), (
        f"{name(query)} must open with '-- <purpose>', '-- grain: ...', '-- units: ...', '-- owner: ...'"
    )
    statements = duckdb.extract_statements(text)
    assert [statement.type for statement in statements] == [duckdb.StatementType.SELECT], (
        f"{name(query)} holds {[str(statement.type) for statement in statements]}, expected one SELECT"
    )


def test_the_sql_layers_are_known() -> None:
    assert {query.parent.name for query in QUERIES} <= {"staging", "mart", "query", "check"}
    assert all(query.parent.parent == ROOT / "sql" for query in QUERIES)


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_shadows_a_package_or_the_standard_library(package: str) -> None:
    """Prefect's path entrypoints put flows/ first on sys.path: flows/tasks.py would be imported instead of tasks."""
    taken = set(PACKAGES) | set(sys.stdlib_module_names)
    shadows = [name(path) for path in (ROOT / package).glob("*.py") if path.stem in taken]
    assert not shadows, f"rename {shadows}: the name belongs to a root package or to the standard library"


@pytest.mark.parametrize("init", [path for path in SOURCES if path.name == "__init__.py"], ids=name)
def test_an_init_file_holds_only_its_docstring(init: Path) -> None:
    body = ast.parse(init.read_text(encoding="utf-8")).body
    assert len(body) == 1 and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant), name(init)


def test_models_know_no_clock_no_environment_and_no_global_generator() -> None:
    forbidden = re.compile(
        r"\b(now|utcnow|today|environ|getenv)$|\btime\.(time|monotonic|perf_counter)$|^random\b"
        r"|\b(np|numpy)\.random\.(seed|rand|randn|randint|normal|uniform|choice|shuffle|permutation)$"
    )
    found = [use for path in SOURCES if path.is_relative_to(ROOT / "models") for use in uses(path, forbidden)]
    assert not found, f"pass `as_of`, `rng` or the value as an argument instead: {found}"


def test_the_environment_is_read_in_few_places() -> None:
    readers = {"flows/settings.py", "flows/cli.py", "flows/tether.py"}  # the last hands it on to its children
    found = [
        use for path in SOURCES if name(path) not in readers for use in uses(path, re.compile(r"\b(environ|getenv)$"))
    ]
    assert not found, f"add a setting to flows/settings.py and pass its value down: {found}"


def test_nothing_is_pickled() -> None:
    forbidden = re.compile(r"^(pickle|cloudpickle|dill|joblib|shelve)\b|\b(to|read)_pickle$|\ballow_pickle\b")
    found = [use for path in PYTHON for use in uses(path, forbidden)]
    assert not found, f"a pickle runs code when it is read; store Parquet or JSON: {found}"


@pytest.mark.parametrize("path", PYTHON, ids=name)
def test_a_file_has_one_subject(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LINES_MAX, (
        f"{name(path)} has {lines} lines, at most {LINES_MAX}: split it where its summary needs 'and'"
    )


def test_no_machine_path_in_a_file() -> None:
    own = Path(__file__).resolve()
    kinds = {".py", ".sql", ".yaml", ".yml", ".toml", ".md", ".html", ".js", ".css"}
    folders = [*PACKAGES, "sql", "data_contracts", "deployments", "docs", "reports", "benchmarks", "examples", "tests"]
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in kinds]
    files += [path for path in ROOT.glob("*") if path.suffix in kinds or path.name == "Makefile"]
    found = [
        f"{name(path)}:{number} {line.strip()[:80]}"
        for path in files
        if path.resolve() != own
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if MACHINE_PATH.search(line)
    ]
    assert not found, f"use a path relative to the file, the checkout or the workspace: {found}"


def test_the_lock_pins_with_hashes_and_without_addresses() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pinned = re.findall(r"^([a-z0-9._-]+)==", lock, re.MULTILINE)
    assert "prefect" in pinned
    assert "setuptools" in pinned, "the project is installed without build isolation"
    assert lock.count("--hash=sha256:") >= len(pinned)
    peers = (ROOT / "requirements-bench.lock").read_text(encoding="utf-8")
    assert "pymc-marketing==" in peers
    assert "://" not in lock + peers, "make the lock with `make lock`, which writes no addresses"
    assert not (ROOT / "uv.lock").exists(), "uv.lock records download addresses; requirements.lock is the lock"


def test_the_papers_of_the_house_are_here() -> None:
    for paper in ("README.md", "LICENSE", "CONTRIBUTING.md", "CHANGELOG.md", "docs/naming.md", "docs/adr/README.md"):
        assert (ROOT / paper).stat().st_size > 500, paper
    index = (ROOT / "docs/adr/README.md").read_text(encoding="utf-8")
    decisions = sorted((ROOT / "docs/adr").glob("[0-9]*.md"))
    assert [int(path.name[:4]) for path in decisions] == list(range(1, len(decisions) + 1))
    for path in decisions:
        assert f"({path.name})" in index, f"{path.name} is missing in docs/adr/README.md"
        headings = re.findall(r"^## (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert headings == ["Context", "Decision", "What lost", "Consequences"], path.name
