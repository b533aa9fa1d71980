"""What a flight takes over from a plan: its caps and the fitted carry-over; anything else it refuses in words."""

from typing import Any

from models.allocation_config import AllocationConfig
from models.errors import ConfigError
from models.mmm.fitted import FittedMMM, weights_of

NOT_KNOWN = (  # rules of a plan that a flight cannot keep; the change limit is not among them: its default is on
    "floors",
    "locked",
    "groups",
    "off_or_at_least",
    "max_moves",
    "min_line_roas",
    "min_roas",
    "max_cpa",
    "min_probability_roas",
    "max_change_fractions",
    "margin_fractions",
)


def flight_caps(config: AllocationConfig) -> dict[str, float]:
    """Most per line and week of a flight under a plan's rules.

    Raises
    ------
    ConfigError : there is a rule that a flight does not know; the message names it.
    """
    given: list[Any] = [name for name in NOT_KNOWN if getattr(config, name) not in (None, {}, ())]
    if config.objective in ("conversions", "clv"):
        given.append(f"objective: {config.objective}")
    if config.risk != "mean":
        given.append(f"risk: {config.risk}")
    if given:
        raise ConfigError(
            f"A flight knows the total and caps only; found {', '.join(given)}.\n"
            "Undo these rules for the flight, in a constraints file by {} or null, or plan without it."
        )
    return dict(config.caps)


def flight_kernels(fitted: FittedMMM) -> dict[str, list[float]]:
    """Mean weights of this and the following weeks, per channel.

    Raises
    ------
    ConfigError : the model carries over the response, where a flight carries over the spend.
    """
    if fitted.config.order != "adstock_first":
        raise ConfigError(
            f"A flight needs a mix model whose spend carries over: mmm.order: adstock_first; found "
            f"{fitted.config.order}.\nSet it and retrain, or plan without a flight."
        )
    return dict(zip(fitted.data.channels, weights_of(fitted).mean(axis=1).T.tolist(), strict=True))
