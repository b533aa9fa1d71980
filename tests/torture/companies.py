"""A small demo company whose files come in mixed formats, and what it delivers on the second day."""

import gzip
import shutil
from datetime import date
from pathlib import Path

import polars as pl
import yaml

from models.company.world import CompanyConfig
from tasks.demo import write_company

FIRST_DAY, SECOND_DAY = date(2026, 6, 28), date(2026, 6, 29)
PARTS = 4  # files that the orders come in


def small_company(folder: Path, *only: str) -> Path:
    """A workspace: orders in several packed files, other sources in other formats; `only` these, if named."""
    write_company(folder, CompanyConfig(seed=7, weeks=30, customers=1000))
    landing = folder / "landing"
    orders = pl.read_csv(landing / "orders.csv", infer_schema=False)
    (landing / "orders.csv").unlink()
    size = len(orders) // PARTS + 1
    for number in range(PARTS):
        write_orders(folder, number, orders.slice(number * size, size))
    customers = pl.read_csv(landing / "customers.csv", infer_schema=False)
    (landing / "customers.csv").unlink()
    customers.write_ndjson(landing / "customers.ndjson")
    spend = landing / "ad_spend.csv"
    spend.write_bytes(spend.read_text(encoding="utf-8").encode("utf-16"))
    content = yaml.safe_load((folder / "marginal.yaml").read_text(encoding="utf-8"))
    content["sources"] |= {
        "orders": {"path": "landing/orders-*.csv.gz", "when_removed": "drop"},
        "customers": "landing/customers.ndjson",
    }
    content["sources"] = {name: value for name, value in content["sources"].items() if not only or name in only}
    (folder / "marginal.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return folder


def write_orders(folder: Path, number: int, orders: pl.DataFrame) -> None:
    """One file of orders."""
    content = gzip.compress(orders.write_csv().encode(), mtime=0)
    (folder / "landing" / f"orders-{number}.csv.gz").write_bytes(content)


def next_day(folder: Path) -> Path:
    """One file changed, one new, one gone, as an export's second day brings them."""
    landing = folder / "landing"
    changed = pl.read_csv(landing / "orders-1.csv.gz", infer_schema=False)
    head = changed.slice(0, len(changed) // 2)
    write_orders(folder, 1, head.with_columns(pl.lit("12.5").alias("revenue")))
    fresh = changed.slice(0, 50).with_columns(("again-" + pl.col("order_id")).alias("order_id"))
    write_orders(folder, PARTS, fresh)
    (landing / "orders-2.csv.gz").unlink()
    return folder


def copy_of_all(folder: Path, target: Path) -> Path:
    """The workspace as it stands."""
    shutil.copytree(folder, target)
    return target
