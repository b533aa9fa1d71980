"""Customer value: tiers, habits, what channels' customers cost and bring over time, the model's parameters."""

from collections.abc import Sequence

import polars as pl

from models.report import acquisition, cohorts, decision, figures, wording
from models.report.blocks import (
    Block,
    Row,
    Tables,
    absent,
    cell,
    facts,
    folded,
    plain_table,
    present,
    prose,
    rows_of,
    table,
)
from models.report.wording import Words
from models.scorecard import ScorecardConfig

KEY, TITLE = "customers", "Customer value"
TIERS = ("Low", "Medium", "High", "VIP")  # in rising order of value
PARAMETERS = {
    "bg_nbd": "How often customers buy and when they leave (BG/NBD)",
    "gamma_gamma": "What an order is worth (Gamma-Gamma)",
}


def section(tables: Tables, words: Words, note: str, config: ScorecardConfig) -> Block:
    """Tiers, the LTV:CAC matrix and the parameters of the value model."""
    tiers = tier_rows(tables["customer_value"]) if "customer_value" in tables else []
    scorecard, profile = rows_of(tables, "channel_scorecard"), rows_of(tables, "cohort_profile")
    if not tiers and not scorecard:
        return absent(KEY, TITLE, "No customer value: the source orders switches it on.")
    blocks: list[Block] = _tiers(tiers, {str(row["name"]): row for row in profile if row["kind"] == "tier"}, words)
    if scorecard:
        blocks += acquisition.matrix(scorecard, words, config)
    else:
        switch_on = "Value by channel: the sources customers (with channel) and ad_spend switch it on."
        blocks.append(prose(switch_on, "quiet"))
    blocks += cohorts.curves(rows_of(tables, "cohort_curve"), scorecard, words)
    blocks += cohorts.habits(profile, words)
    blocks += _parameters(tables)
    for name, summary in (
        ("uplift", "Uplift by segment"),
        ("experiment_readout", "Experiments"),
        ("click_value", "Value per click"),
    ):
        if name in tables:
            blocks.append(folded(summary, [plain_table(summary, tables[name], words)]))
    return present(KEY, TITLE, _lead(tiers, scorecard, words), blocks, note=note)


def tier_rows(values: pl.DataFrame) -> list[Row]:
    """One row per tier: customers, their mean value, a typical customer's interval, share of all value."""
    if values.is_empty() or not {"tier", "clv_mean"} <= set(values.columns):
        return []
    ends = [name for name in ("clv_p05", "clv_p95") if name in values.columns]
    active = [name for name in ("alive_probability",) if name in values.columns]
    grouped = values.group_by("tier").agg(
        pl.len().alias("customers"),
        pl.col("clv_mean").sum().alias("clv_sum"),
        pl.col("clv_mean").mean(),
        *(pl.col(name).median() for name in ends),
        *(pl.col(name).mean() for name in active),
    )
    place = {tier.lower(): i for i, tier in enumerate(TIERS)}
    rows: list[Row] = grouped.to_dicts()
    rows.sort(key=lambda row: (place.get(str(row["tier"]).lower(), len(place)), str(row["tier"])))
    total = sum(row["clv_sum"] or 0.0 for row in rows)
    heads = sum(row["customers"] for row in rows)
    for row in rows:
        row["customer_share"] = row["customers"] / heads
        row["value_share"] = (row["clv_sum"] or 0.0) / total if total else 0.0
    return rows


def _lead(tiers: Sequence[Row], scorecard: Sequence[Row], words: Words) -> str:
    parts = []
    if tiers:
        top = tiers[-1]
        heads, total = sum(row["customers"] for row in tiers), sum(row["clv_sum"] or 0.0 for row in tiers)
        parts.append(f"{wording.plural(heads, 'customer')} are worth {words.money(total)} from here on.")
        share, held = wording.percent(top["customer_share"]), wording.percent(top["value_share"])
        parts.append(f"{top['tier']} customers, {share} of them, hold {held} of that.")
    lossy = [str(row.get("channel")) for row in scorecard if _costs_more(row)]
    if lossy:
        parts.append(f"A customer from {wording.listing(lossy)} costs more than it will bring.")
    return " ".join(parts)


def _costs_more(row: Row) -> bool:
    ratio = wording.number(row.get("clv_to_cac"))
    return ratio is not None and ratio < 1.0  # break-even, whatever the grades are


def _tiers(tiers: Sequence[Row], profile: dict[str, Row], words: Words) -> list[Block]:
    if not tiers:
        return []
    shares = {"Customers": [row["customer_share"] for row in tiers], "Value": [row["value_share"] for row in tiers]}
    columns = ["Tier", "Customers", "Mean value each", "Still active", "Share of customers", "Share of value", "Rule"]
    whole = all(cohorts.ends(profile.get(str(row["tier"]), {}), words) for row in tiers)
    rows = [
        [
            cell(row["tier"]),
            cell(wording.count(row["customers"]), row["customers"]),
            cell(
                words.money(row["clv_mean"]),
                row["clv_mean"],
                sub=cohorts.ends(profile[str(row["tier"])] if whole else row, words),
            ),
            cell(wording.percent(row.get("alive_probability")), row.get("alive_probability")),
            cell(wording.percent(row["customer_share"]), row["customer_share"]),
            cell(wording.percent(row["value_share"]), row["value_share"]),
            cell(profile.get(str(row["tier"]), {}).get("description")),
        ]
        for row in tiers
    ]
    of_whom = "90 % intervals of the mean" if whole else "the interval is that of the tier’s median customer"
    return [
        figures.stacked("fig-tiers", "Who holds the value", [str(row["tier"]) for row in tiers], shares),
        table(f"Value tiers; {of_whom}", columns, rows, kinds="tnnnnnw"),
    ]


def _parameters(tables: Tables) -> list[Block]:
    metrics = decision.metrics_of(decision.model_in_use(tables, "clv"))
    items = []
    for name, title in PARAMETERS.items():
        known = metrics.get(name)
        if isinstance(known, dict) and known:
            pairs = [(key.replace("_", " "), wording.number(value)) for key, value in known.items()]
            items.append(
                (title, ", ".join(f"{key} = {wording.plain(real)}" for key, real in pairs if real is not None))
            )
    return [facts(items)] if items else []
