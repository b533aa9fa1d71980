"""The starter workspace."""

from pathlib import Path

from models.errors import ConfigError
from tasks.files import write_atomically

STARTER = """\
# A Marginal workspace. The smallest valid file names a company and one source; all the rest has working defaults.
company: My Company
currency: EUR
# as_of: 2026-01-31        # last day to look at; by default the latest day in the data
# seed: 20260101           # the same seed, data and config give the same results

sources:
  # Needed for a plan: spend per day (or week) and channel, with the columns date, channel, cost.
  # If your file names them otherwise, map ours to yours.
  ad_spend:
    path: landing/ad_spend.csv
    # columns: {date: Day, channel: Campaign type, cost: Cost}
  # ... and what it is to move: a KPI per day (or week) with date, value, or else orders to build it from.
  kpi: landing/kpi.csv
  # orders: landing/orders.csv          # order_id, customer_id, ordered_at, revenue: switches on customer value
  # customers: landing/customers.csv    # customer_id, acquired_at, channel: customer value per channel
  # controls: landing/controls.csv      # date, name, value: price, promotion, competitors, search demand
  # lift_tests: landing/lift_tests.csv  # channel, start_date, end_date, spend_change, lift, lift_se: calibration
  # bids: landing/bids.csv              # date, keyword, bid, impressions, clicks, cost: watches bid elasticity

# allocation:
#   total: 20000             # per week; by default as much as in the last quarter
#   floors: {brand_search: 1000}
#   caps: {video: 5000}
#   max_change_fraction: 0.3
#   margin_fraction: 0.6     # of revenue, left to pay for media

# alerts:
#   webhook_url:             # a secret: set MARGINAL__ALERTS__WEBHOOK_URL instead of writing it here
"""


def write_starter(directory: Path) -> None:
    """Write `marginal.yaml` and `landing/`.

    Raises
    ------
    ConfigError : there is a marginal.yaml already; it is left alone.
    """
    file = directory / "marginal.yaml"
    if file.exists():
        raise ConfigError(f"{file} exists already; expected a new folder.\nName another one, or edit that file.")
    (directory / "landing").mkdir(parents=True, exist_ok=True)
    write_atomically(file, STARTER)
