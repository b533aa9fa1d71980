"""Why each bid moves, holds or is taken out, in one plain sentence."""

import polars as pl

from models.bid_curves import PRIOR

HOLD, RAISE, LOWER = "hold", "raise", "lower"
ACTIONS = (HOLD, RAISE, LOWER)  # by the sign of the move: 0, 1, -1


def plan_reasons(mode: str) -> pl.Expr:
    """The column `reason` of ``out.bid_plan`` from the columns that `bid_plan` has worked out.

    Parameters
    ----------
    mode : "profit", "troas", "cpa" or "budget".
    """
    planned, target = pl.col("next_brings").round(2), pl.col("target_roas").round(2)
    caused = pl.format(
        "{} of the value its clicks are given was caused ({})",
        (100 * pl.col("incrementality")).round(0).cast(pl.Int64).cast(pl.String) + "%",
        pl.col("incrementality_reason"),
    )
    if mode == "cpa":
        per = pl.format("the next conversion costs {}", (1 / pl.col("next_brings")).round(2))
    else:
        asks = (
            pl.when(target.is_not_null())
            .then(pl.format("{} is asked", target))
            .when(~pl.col("is_met"))
            .then(pl.lit("no return keeps the rules in one move"))
            .otherwise(pl.lit("the rules allow more"))
        )
        per = pl.format("the next unit of money brings {}, {}", planned, asks)
    asked = {
        "profit": pl.when("is_held_down").then(pl.lit(" to stay within the planned spend")).otherwise(pl.lit("")),
        "troas": pl.lit(" for the target ROAS on average"),
        "cpa": pl.lit(" for the target cost on average"),
        "budget": pl.when("has_plan")
        .then(pl.lit(" to spend what is planned"))
        .otherwise(pl.lit(" to spend no more than today")),
    }[mode]
    worth = pl.when(pl.col("clv_ratio") == 1.0).then(pl.lit("")).otherwise(
        pl.format("; its customers are worth {} of the mean customer", pl.col("clv_ratio").round(2))
    )  # fmt: skip
    capped = pl.when("is_capped").then(pl.lit(", as far as one move may go")).otherwise(pl.lit(""))
    short = pl.when(pl.col("is_met")).then(pl.lit("")).otherwise(
        pl.lit(" One move cannot reach the target or the planned spend: it goes on next time.")
    )  # fmt: skip
    flat = pl.when(pl.col("is_flat").fill_null(False)).then(pl.lit("; clicks hardly follow the bid")).otherwise(
        pl.lit("")
    )  # fmt: skip
    move = pl.format("{}{}{}{}{}; {}.{}", per, asked, flat, worth, capped, caused, short)
    return (
        pl.when(pl.col("action") == "suppress")
        .then(
            pl.format(
                "Taken out: {}; {}.",
                pl.when("caused_little")
                .then(pl.lit("next to nothing of its value was caused"))
                .otherwise(pl.lit("at the lowest bid it returns next to nothing")),
                caused,
            )
        )
        .when(pl.col("value_per_click").is_null())
        .then(pl.lit("Held: the value of a click is not known; add the sources clicks and orders."))
        .when(pl.col("basis") == PRIOR)
        .then(pl.format("Held: its elasticity is not known. {}", pl.col("curve_reason")))
        .when((pl.col("clicks") <= 0) | (pl.col("cost") <= 0))
        .then(pl.lit("Held: it brought no clicks that cost anything of late."))
        .when("is_unsure")
        .then(pl.format("Held: it is not clear which way to move; {}.", per))
        .when("is_small")
        .then(pl.format("Held: the best bid is as good as this one; {}.", per))
        .when(pl.col("action") == RAISE)
        .then(pl.format("Raised: {}", move))
        .when(pl.col("action") == LOWER)
        .then(pl.format("Lowered: {}", move))
        .otherwise(pl.format("Held: {}.", per))
        .alias("reason")
    )
