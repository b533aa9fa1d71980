"""The page: self-contained, harmless whatever names hold, exact numbers, the same bytes for the same tables."""

import base64
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable
from datetime import date
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from models.report.view import build_view
from models.run import Run
from tasks import reporting
from tasks.warehouse import replace_rows
from tests.models import report_tables as made

MEGABYTE = 1_000_000


class Page(HTMLParser):
    """What a browser would see: tags with attributes, scripts, styles, exact numbers, text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.raw: dict[str, list[str]] = {"script": [], "style": []}
        self.text: list[str] = []
        self.inside: str | None = None
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in self.raw:
            self.inside = tag
            self.raw[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == self.inside:
            self.inside = None

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.raw[self.inside][-1] += data
        else:
            self.text.append(data)

    def scripts(self, kind: str | None) -> list[str]:
        """Contents of script elements of one type."""
        kinds = [attrs.get("type") for tag, attrs in self.tags if tag == "script"]
        return [content for content, found in zip(self.raw["script"], kinds, strict=True) if found == kind]

    def numbers(self) -> set[float]:
        """Every exact number in the page."""
        return {float(str(attrs["value"])) for tag, attrs in self.tags if tag == "data"}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(run_id=made.RUN_ID, as_of=made.AS_OF, seed=7, workspace=tmp_path)


@pytest.fixture
def fill(run: Run) -> Callable[[dict[str, pl.DataFrame]], None]:
    """Write tables into the workspace's warehouse, each under its own stamp."""

    def write(tables: dict[str, pl.DataFrame]) -> None:
        for name, frame in tables.items():
            stamp: dict[str, Any] = frame.select("run_id", "as_of").row(0, named=True)
            replace_rows(run.warehouse, f"out.{name}", frame.drop("run_id", "as_of"),
                         Run(seed=run.seed, workspace=run.workspace, **stamp))  # fmt: skip

    return write


def page_of(tables: dict[str, pl.DataFrame], company: str = "Halden") -> str:
    return reporting.render(build_view(tables, run_id=made.RUN_ID, as_of=made.AS_OF, company=company, currency="EUR"))


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(page_of(made.everything()))


def test_nothing_is_fetched(page: Page) -> None:
    fetching = ("src", "href", "srcset", "action", "formaction", "poster", "data", "xlink:href", "background", "ping")
    for tag, attrs in page.tags:
        for name in fetching:
            assert (attrs.get(name) or "#").startswith(("#", "data:")), f"{tag} {name}={attrs[name]}"
        assert "url(" not in (attrs.get("style") or "")
    own = reporting._inlined()
    assert page.raw["style"] == [own["style"]]
    assert not re.search(r"@import|url\(|https?:", own["style"])
    assert not re.search(r"fetch\(|XMLHttpRequest|import\(|sendBeacon|WebSocket|https?:", own["script"])


def test_the_content_policy_lets_only_the_pages_own_scripts_run(page: Page) -> None:
    policy = next(str(attrs["content"]) for tag, attrs in page.tags if tag == "meta" and "http-equiv" in attrs)
    assert policy.startswith("default-src 'none'; ")
    hashes = set(re.findall(r"'sha256-([^']+)'", policy))
    assert hashes == {
        base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in page.scripts(None)
    }
    assert "unsafe-inline" not in policy.split("script-src")[1].split(";")[0]


@pytest.mark.parametrize(
    "name",
    ["<script>alert(1)</script>", "</script><img src=x onerror=alert(1)>", '"><svg onload=alert(1)>', "{{ 7 * 7 }}",
     "<!--", "'; drop table x; --", "a\u2028b & <b>c</b>"],
)  # fmt: skip
def test_a_name_from_data_is_only_ever_text(name: str, page: Page) -> None:
    tables = {
        table: frame.with_columns(
            pl.col(pl.String).exclude("run_id", "metrics", "payload").str.replace_all(made.HOSTILE, name, literal=True)
        )
        for table, frame in made.everything().items()
    }
    html = page_of(tables, company=name)
    shown = Page(html)
    assert Counter(tag for tag, _ in shown.tags) == Counter(tag for tag, _ in page.tags)
    assert not any(attribute.startswith("on") for _, attrs in shown.tags for attribute in attrs)
    assert shown.scripts(None) == page.scripts(None)
    assert any(name in text for text in shown.text)
    for content in shown.scripts("application/json"):
        assert "<" not in content
        json.loads(content)


def test_the_numbers_shown_are_the_tables_numbers(page: Page) -> None:
    shown = page.numbers()
    tables = made.everything()
    for table, columns in {
        "budget_plan": ("spend", "planned_spend", "value_mean", "marginal_value"),
        "plan_summary": ("budget", "value_mean", "roas_mean", "gap_fraction"),
        "mmm_channel": ("contribution_mean", "roas_mean", "marginal_roas_mean"),
        "forecast": ("mean", "p05", "p25", "p50", "p75", "p95"),
        "channel_scorecard": ("spend", "new_customers", "cac", "clv_mean", "clv_to_cac"),
        "lineage": ("rows_read", "rows_kept", "rows_quarantined"),
        "data_quality": ("failing_rows",),
    }.items():
        for column in columns:
            assert set(tables[table][column].cast(pl.Float64)) <= shown, f"{table}.{column}"


def test_the_figures_draw_the_tables_numbers(page: Page) -> None:
    figures = [str(attrs["data-figure"]) for tag, attrs in page.tags if tag == "script" and "data-figure" in attrs]
    contents = [json.loads(text) for text in page.scripts("application/json") if '"layout"' in text]
    specs = dict(zip(figures, contents, strict=True))
    plan = {trace.get("name"): trace["x"] for trace in specs["fig-plan"]["data"]}
    assert sorted(plan["Today"]) == sorted(made.TODAY)
    assert sorted(plan["Planned"]) == sorted(made.PLANNED)
    places = {attrs["id"] for tag, attrs in page.tags if tag == "div" and attrs.get("class") == "plot"}
    assert places == set(specs)


def test_the_page_can_be_read_aloud(page: Page) -> None:
    headings = [tag for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert headings[0] == "h1"
    assert headings.count("h1") == 1
    assert all("scope" in attrs for tag, attrs in page.tags if tag == "th")
    assert all(attrs.get("aria-label") for _, attrs in page.tags if attrs.get("role") in ("img", "region"))
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    links = {str(attrs["href"])[1:] for tag, attrs in page.tags if tag == "a"}
    assert links <= set(ids)


def test_a_workspace_without_anything_gets_a_page(run: Run) -> None:
    path = run.workspace / reporting.write_report.fn(run, "EUR", "Halden")
    shown = Page(path.read_text(encoding="utf-8"))
    assert "No plan yet." in shown.text
    assert shown.scripts("application/json") == []


def test_the_report_is_one_small_file_and_the_same_bytes_each_time(
    run: Run, fill: Callable[[dict[str, pl.DataFrame]], None]
) -> None:
    fill(made.everything())
    relative = reporting.write_report.fn(run, "EUR", "Halden")
    assert relative == f"artifacts/reports/{made.RUN_ID}.html"
    folder = run.artifacts / "reports"
    first = (run.workspace / relative).read_bytes()
    assert reporting.write_report.fn(run, "EUR", "Halden") == relative
    assert (run.workspace / relative).read_bytes() == first
    assert (folder / "latest.html").read_bytes() == first
    assert sorted(file.name for file in folder.iterdir()) == sorted([f"{made.RUN_ID}.html", "latest.html"])
    assert len(first) < 8 * MEGABYTE
    assert Page(first.decode()).numbers() == Page(page_of(made.everything())).numbers()


def test_standing_tables_come_from_the_last_run_before_and_never_from_a_later_one(
    run: Run, fill: Callable[[dict[str, pl.DataFrame]], None]
) -> None:
    for run_id, day, budget in (
        ("r1", date(2025, 12, 22), 1.0),
        ("r2", date(2025, 12, 29), 2.0),
        ("r9", date(2026, 2, 1), 9.0),
    ):
        fill({
            "plan_summary": made.stamped(made.plan_summary(budget=budget), run_id=run_id, as_of=day),
            "trigger": made.everything()["trigger"].with_columns(run_id=pl.lit(run_id), as_of=pl.lit(day)),
        })  # fmt: skip
    found = reporting.read_tables(run)
    assert found["plan_summary"]["run_id"].unique().to_list() == ["r2"]
    assert found["trigger"].is_empty()  # yesterday's alarm is not this morning's
    fill({"plan_summary": made.stamped(made.plan_summary(budget=3.0))})
    assert reporting.read_tables(run)["plan_summary"]["budget"][0] == 3.0


def test_the_mix_models_tables_are_its_champions(run: Run, fill: Callable[[dict[str, pl.DataFrame]], None]) -> None:
    earlier: dict[str, Any] = {"run_id": "r1", "as_of": date(2025, 12, 29)}
    failed = made.model_run()[0] | {"model_id": "mmm-2", "verdict": "FAIL", "is_champion": False}
    fill({
        "model_run": made.stamped(made.model_run(), **earlier),
        "response_curve": made.stamped(made.response_curve("mmm-1"), **earlier),
    })  # fmt: skip
    fill({"model_run": made.stamped([failed]), "response_curve": made.stamped(made.response_curve("mmm-2"))})
    found = reporting.read_tables(run)
    assert found["response_curve"]["model_id"].unique().to_list() == ["mmm-1"]
    assert set(found["model_run"]["model_id"]) == {"mmm-1", "mmm-2", "clv-1"}


def test_the_summary_for_prefect_is_text_and_rows() -> None:
    view = build_view(made.everything(), run_id=made.RUN_ID, as_of=made.AS_OF, company="Halden", currency="EUR")
    text = reporting.markdown(view, "artifacts/reports/x.html")
    assert text.startswith("# Move €12.4k a week from Display to Generic search")
    assert not re.search(r"(?<!\\)<", text)
    rows = reporting.plan_rows(view["plan_table"])
    assert [row["Line"] for row in rows] == ["Generic search", "Display", "Brand", made.HOSTILE]
    assert [row["Planned"] for row in rows] == ["€54.4k", "€25.6k", "€9.00k", "€3.10k"]


def test_prefects_refusal_does_not_lose_the_report(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    class Log:
        def warning(self, message: str, error: Exception) -> None:
            said.append(message % error)

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("no server")

    monkeypatch.setattr(reporting, "create_markdown_artifact", refuse)
    monkeypatch.setattr(reporting, "get_run_logger", Log)
    view = build_view({}, run_id=made.RUN_ID, as_of=made.AS_OF, company="Halden", currency="EUR")
    reporting.publish(view, "x.html")
    assert said == ["The report is written, but Prefect did not take its summary: no server"]
