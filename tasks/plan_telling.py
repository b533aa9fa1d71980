"""How plans and their reasons read on a terminal."""

from math import isnan
from typing import Any


def told_plan(result: dict[str, Any], *, with_scenarios: bool = False) -> str:
    """How a plan reads."""
    summary = result["summary"]
    rows = [f"Plan {result['plan_id']}", f"{'line':24}{'today':>12}{'planned':>12}{'next unit':>11}  why"]
    rows += [
        f"{row['line']:24}{_money(row['spend']):>12}{row['planned_spend']:>12,.0f}{row['marginal_value']:>11.3g}"
        f"  {row['reason']}"
        for row in result["lines"]
    ]
    rows.append(
        f"Expected value {summary['value_mean']:,.0f} a week "
        f"(90 %: {summary['value_p05']:,.0f} to {summary['value_p95']:,.0f})."
    )
    bound = f"No plan under these rules that spends as much is worth more than {summary['upper_bound']:,.0f}"
    counted = f", counted as {summary['risk']}; this one is so counted {summary['risk_value']:,.0f}"
    rows.append(f"{bound}{'' if summary['risk'] == 'mean' else counted}.")
    rows += [
        f"{price['name']}: loosened by {price['per']} it would bring {price['shadow_price']:,.3f} more."
        for price in result["constraints"]
        if price["binding"]
    ]
    if with_scenarios:
        rows += [_told_scenario(name, other) for name, other in result["scenarios"].items()]
    rows.append(f"Verdict: {summary['verdict']}. {summary['reason']}")
    if "flights" in result:
        rows += _told_flights(result["flights"])
    rows += [
        f"{row['risk']:10} budget {row['budget']:>12,.0f}  value {row['value_mean']:>12,.0f}  "
        f"ROAS {_ratio(row['roas_mean'])}"
        for row in result.get("frontier", [])
        if row["is_efficient"]
    ]
    return "\n".join(rows)


def _money(amount: float) -> str:
    return "" if isnan(amount) else f"{amount:,.0f}"  # no spend today is known of lines from a file


def _told_scenario(name: str, other: dict[str, Any]) -> str:
    if "infeasible" in other:
        return f"{name:>6}: no plan. {other['infeasible']}"
    return (
        f"{name:>6}: budget {other['budget']:,.0f}, expected value {other['value_mean']:,.0f}, "
        f"ROAS {_ratio(other['roas_mean'])}"
    )


def _told_flights(flights: dict[str, Any]) -> list[str]:
    if flights["best"] is None:
        return ["There is no flight: the plan spends nothing."]
    rows = [f"Best over the weeks: {flights['best']}. The change limit does not hold in a flight."]
    rows += [
        f"  {row['kind']:12} value {row['value']:>14,.0f}  ROAS {_ratio(row['roas'])}, "
        f"at most {row['gap_fraction']:.1%} below the best possible"
        for row in flights["table"]
    ]
    if flights["carried"] > 0:
        rows.append(f"  {flights['carried']:,.0f} of each value comes of spend before; ROAS and distance leave it out.")
    rows.append("Spend of the best one, week by week:")
    return rows + [
        f"  {line:24}{' '.join(f'{amount:,.0f}' for amount in weekly)}" for line, weekly in flights["spend"].items()
    ]


def _ratio(amount: float | None) -> str:
    return "none" if amount is None or isnan(amount) else f"{amount:.2f}"


def told_explanation(result: dict[str, Any]) -> str:
    """How the reasons of a plan read."""
    rows = [f"Plan {result['plan_id']}"]
    rows += [
        f"  {row['line']:24}{row['spend']:>12,.0f} ->{row['planned_spend']:>12,.0f}  {row['reason']}"
        for row in result["lines"]
    ]
    if result["before"] is None:
        return "\n".join([*rows, "It is the first plan here: there is none before it to compare with."])
    if "note" in result:
        return "\n".join([*rows, result["note"]])
    causes = ", ".join(result["changed"]) or "nothing"
    rows.append(f"Against the plan before it, {result['before']}, this changed: {causes}.")
    rows += [f"  {row['line']:24}{row['change']:>+12,.0f}  {row['reason']}" for row in result["moves"]]
    return "\n".join(rows)
