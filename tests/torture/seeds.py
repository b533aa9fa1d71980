"""Files that load as they are: the corpus that mutations start from. Counted by Python alone, never by the product."""

import gzip
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

EXPORTS = Path(__file__).parents[1] / "fixtures" / "exports"  # written by hand from the platforms' documentation
SIDECAR = ".expect.yaml"
FIRST = date(2026, 1, 1)


@dataclass(frozen=True, kw_only=True)
class Seed:
    """A file, the table it feeds and how it is read.

    rows : rows of data in it, without totals and the like; None where it does not load.
    is_plain : comma, UTF-8, header first, one line a row.
    """

    name: str
    content: bytes
    table: str
    rows: int | None
    options: Mapping[str, Any] = field(default_factory=dict)
    is_plain: bool = False

    @property
    def suffix(self) -> str:
        """The ending of the name, with that of a compression."""
        return "." + self.name.split(".", 1)[1]


def records(table: str, count: int = 24) -> list[dict[str, Any]]:
    """Rows of a source, each different, none that a contract objects to."""
    days = [FIRST + timedelta(days=number // 2) for number in range(count)]
    match table:
        case "ad_spend":
            return [
                {
                    "date": str(day),
                    "channel": ("search", "tv")[number % 2],
                    "cost": 1000 + number + 0.25,
                    "impressions": 90_000 + number,
                    "clicks": 900 + number,
                    "campaign": f"Größe {number}, neu",
                }
                for number, day in enumerate(days)
            ]
        case "orders":
            return [
                {
                    "order_id": f"o{number}",
                    "customer_id": f"k{number % 7}",
                    "ordered_at": f"{day} {8 + number % 12:02d}:30:00",
                    "revenue": 20.5 + number,
                }
                for number, day in enumerate(days)
            ]
        case "geo_experiments":
            return [
                {
                    "experiment_id": "e",
                    "date": str(day),
                    "geo": ("north", "south")[number % 2],
                    "treated": ("true", "false")[number % 2],
                    "value": 5.0 + number,
                }
                for number, day in enumerate(days)
            ]
        case _:
            return [{"date": str(FIRST + timedelta(days=number)), "value": 100.0 + number} for number in range(count)]


def as_csv(rows: Iterable[Mapping[str, Any]], mark: str = ",", newline: str = "\n", decimal: str = ".") -> str:
    """Text as an export writes it: every value that holds the mark in quotes."""
    rows = list(rows)

    def cell(value: Any) -> str:
        text = str(value).replace(".", decimal) if isinstance(value, float) else str(value)
        return '"' + text.replace('"', '""') + '"' if mark in text or '"' in text else text

    lines = [list(rows[0]), *(list(row.values()) for row in rows)]
    return newline.join(mark.join(map(cell, line)) for line in lines) + newline


def as_parquet(table: pa.Table, **options: Any) -> bytes:
    """A Parquet file in memory."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **options)
    return buffer.getvalue()


def own_seeds() -> list[Seed]:
    """The base corpus: one set of rows in every dialect and format, and other sources in the plain ones."""
    ads = records("ad_spend")
    plain = as_csv(ads)
    texts: dict[str, bytes] = {
        "comma.csv": plain.encode(),
        "semicolon.csv": as_csv(ads, mark=";").encode(),
        "decimal-comma.csv": as_csv(ads, mark=";", decimal=",").encode(),
        "tab.tsv": as_csv(ads, mark="\t").encode(),
        "pipe.txt": as_csv(ads, mark="|").encode(),
        "windows-lines.csv": as_csv(ads, newline="\r\n").encode(),
        "mark.csv": plain.encode("utf-8-sig"),
        "utf16.csv": as_csv(ads, mark="\t").encode("utf-16"),
        "cp1252.csv": plain.encode("cp1252"),
        "packed.csv.gz": gzip.compress(plain.encode(), mtime=0),
        "packed-lines.ndjson.gz": gzip.compress("\n".join(map(json.dumps, ads)).encode(), mtime=0),
        "list.json": json.dumps(ads).encode(),
        "indented.json": json.dumps(ads, indent=2, ensure_ascii=False).encode(),
        "lines.ndjson": "\n".join(json.dumps(row, ensure_ascii=False) for row in ads).encode(),
        "no-last-newline.csv": plain.rstrip("\n").encode(),
        "all-quoted.csv": "".join(",".join(f'"{c}"' for c in map(str, row)) + "\n" for row in rows_of(ads)).encode(),
    }
    plain_ones = {"comma.csv", "no-last-newline.csv", "all-quoted.csv"}
    seeds = [
        Seed(name=name, content=content, table="ad_spend", rows=len(ads), is_plain=name in plain_ones)
        for name, content in texts.items()
    ]
    for table in ("orders", "geo_experiments", "kpi"):
        rows = records(table)
        seeds.append(
            Seed(name=f"{table}.csv", content=as_csv(rows).encode(), table=table, rows=len(rows), is_plain=True)
        )
        lines = "\n".join(map(json.dumps, rows)).encode()
        seeds.append(Seed(name=f"{table}.jsonl", content=lines, table=table, rows=len(rows)))
    return seeds + parquet_seeds(ads)


def rows_of(rows: list[dict[str, Any]]) -> list[list[Any]]:
    """Header and values."""
    return [list(rows[0]), *(list(row.values()) for row in rows)]


def parquet_seeds(ads: list[dict[str, Any]]) -> list[Seed]:
    """Parquet with plain, typed, dictionary, decimal, nested and many-group columns."""
    table = pa.Table.from_pylist(ads)
    days = pa.array([date.fromisoformat(row["date"]) for row in ads])
    typed = table.set_column(0, "date", days)
    nested = typed.append_column("tags", pa.array([[{"a": n, "b": [str(n)] * 3}] for n in range(len(ads))]))
    cents = pa.array([Decimal(str(row["cost"])) for row in ads], pa.decimal128(12, 2))
    variants = {
        "plain.parquet": as_parquet(table),
        "typed.parquet": as_parquet(typed, compression="zstd"),
        "groups.parquet": as_parquet(typed, row_group_size=5, compression="gzip"),
        "nested.parquet": as_parquet(nested, version="1.0"),
        "decimal.pq": as_parquet(typed.set_column(2, "cost", cents), use_dictionary=False, compression="none"),
    }
    return [Seed(name=name, content=content, table="ad_spend", rows=len(ads)) for name, content in variants.items()]


def export_seeds() -> list[Seed]:
    """Every hand-written platform export that has a sidecar; none while there are none."""
    seeds = []
    for sidecar in sorted(EXPORTS.glob(f"*/*{SIDECAR}")):
        expected = yaml.safe_load(sidecar.read_text(encoding="utf-8"))
        seeds.append(
            Seed(
                name=f"{sidecar.parent.name}-{expected['file']}",
                content=sidecar.with_name(expected["file"]).read_bytes(),
                table=expected["table"],
                rows=None if "error" in expected else expected["rows_kept"] + expected["rows_quarantined"],
                options={"preset": expected["preset"], **(expected.get("options") or {})},
            )
        )
    return seeds


def corpus() -> list[Seed]:
    """All seeds, in a fixed order."""
    return own_seeds() + export_seeds()
