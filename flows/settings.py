"""The one reader of `marginal.yaml` and of the environment."""

import difflib
import hashlib
import json
import os
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import date
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args
from zoneinfo import available_timezones

import yaml
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from models.bid_curves import BidCurveConfig
from models.bid_jitter import JitterConfig
from models.bid_plan import BidPlanConfig
from models.clv import CLVConfig
from models.clv_priority import PriorityConfig
from models.cohort_curve import CohortCurveConfig
from models.cohorts import CohortConfig
from models.conversion import ConversionConfig
from models.errors import ConfigError
from models.forecast import ForecastConfig
from models.gate import GateConfig
from models.limits import AllocationConfig
from models.mmm.config import MMMConfig
from models.mmm.geo import GeoConfig
from models.new_customer_value import NewCustomerConfig
from models.quality import QualityConfig
from models.roas_change import RoasDropConfig
from models.scorecard import ScorecardConfig
from models.sources import FROM_ENVIRONMENT, SourceConfig
from models.triggers import ClvDropConfig, ElasticityFlatConfig, NewCampaignConfig
from models.value_blend import BlendConfig

SOURCE_TABLES = (
    "ad_spend",
    "kpi",
    "orders",
    "customers",
    "clicks",
    "touchpoints",
    "experiments",
    "geo_experiments",
    "lift_tests",
    "bids",
    "controls",
    "spend_ledger",
    "rates",
)
FORBID = {"extra": "forbid"}
SECRET_SECTIONS = {"alerts"}  # what was found there is not repeated in a message


@dataclass(frozen=True, kw_only=True)
class KpiConfig:
    """What the business counts as value."""

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID
    value: Literal["revenue", "margin", "conversions"] = "revenue"  # what the KPI counts, from orders or a file


@dataclass(frozen=True, kw_only=True)
class RetrainConfig:
    """When models are fitted again."""

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID
    every_days: int = 7  # one more complete week is the least that can move a weekly model
    replan_days: int = 28  # a plan older than this is made again without any trigger

    def __post_init__(self) -> None:
        for entry in fields(self):
            if getattr(self, entry.name) < 1:
                raise ValueError(f"{entry.name} is {getattr(self, entry.name)}, expected at least 1 day")


@dataclass(frozen=True, kw_only=True)
class TriggersConfig:
    """Thresholds of the four triggers."""

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID
    roas_drop: RoasDropConfig = field(default_factory=RoasDropConfig)
    clv_drop: ClvDropConfig = field(default_factory=ClvDropConfig)
    elasticity_flat: ElasticityFlatConfig = field(default_factory=ElasticityFlatConfig)
    new_campaign: NewCampaignConfig = field(default_factory=NewCampaignConfig)


@dataclass(frozen=True, kw_only=True)
class AlertsConfig:
    """Where a fired trigger is told; the log always is."""

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID
    webhook_url: SecretStr | None = None  # set it as MARGINAL__ALERTS__WEBHOOK_URL: it is a secret
    timeout_seconds: float = 10.0  # a webhook that has not answered by then will not


class Settings(BaseSettings):
    """A workspace's configuration; environment variables `MARGINAL__SECTION__KEY` override the file."""

    model_config = SettingsConfigDict(
        env_prefix="MARGINAL__", env_nested_delimiter="__", extra="forbid", frozen=True, env_ignore_empty=True
    )

    company: str = Field(description="Name shown in the report")
    currency: str = Field("EUR", min_length=3, max_length=3, description="Currency of every amount, ISO 4217")
    timezone: str = Field("UTC", description="IANA time zone of the company")
    week_start: Literal["monday"] = Field("monday", description="First day of the business week")
    as_of: date | None = Field(None, description="Last day to look at; by default the latest day in the data")
    seed: int = Field(20260101, ge=0, description="Seed of every random draw")
    allow_outside: bool = Field(False, description="Whether sources may lie outside the workspace")
    sources: dict[Literal[SOURCE_TABLES], SourceConfig] = Field(description="Source tables and where they come from")  # type: ignore[valid-type]
    kpi: KpiConfig = Field(default_factory=KpiConfig)
    quality: QualityConfig = Field(default_factory=QualityConfig)
    clv: CLVConfig = Field(default_factory=CLVConfig)
    early_value: BlendConfig = Field(default_factory=BlendConfig)
    new_customers: NewCustomerConfig = Field(default_factory=NewCustomerConfig)
    cohorts: CohortConfig = Field(default_factory=CohortConfig)
    cohort_curve: CohortCurveConfig = Field(default_factory=CohortCurveConfig)
    scorecard: ScorecardConfig = Field(default_factory=ScorecardConfig)
    priority: PriorityConfig = Field(default_factory=PriorityConfig)
    conversion: ConversionConfig = Field(default_factory=ConversionConfig)
    mmm: MMMConfig = Field(default_factory=MMMConfig)
    mmm_geo: GeoConfig = Field(default_factory=GeoConfig)
    gate: GateConfig = Field(default_factory=GateConfig)
    retrain: RetrainConfig = Field(default_factory=RetrainConfig)
    elasticity: BidCurveConfig = Field(default_factory=BidCurveConfig)
    jitter: JitterConfig = Field(default_factory=JitterConfig)
    bids: BidPlanConfig = Field(default_factory=BidPlanConfig)
    allocation: AllocationConfig = Field(default_factory=AllocationConfig)
    forecast: ForecastConfig = Field(default_factory=ForecastConfig)
    triggers: TriggersConfig = Field(default_factory=TriggersConfig)
    alerts: AlertsConfig = Field(default_factory=AlertsConfig)

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        if value not in available_timezones():
            raise ValueError(f"timezone is {value!r}, expected an IANA name such as Europe/Berlin")
        return value

    @field_validator("sources", mode="before")
    @classmethod
    def _plain_path(cls, value: Any) -> Any:
        """`ad_spend: landing/spend.csv` is short for `ad_spend: {path: landing/spend.csv}`."""
        if not isinstance(value, dict):
            return value
        return {name: {"path": source} if isinstance(source, str | list) else source for name, source in value.items()}

    @field_validator("sources")
    @classmethod
    def _at_least_one(cls, value: dict[str, SourceConfig]) -> dict[str, SourceConfig]:
        if not value:
            raise ValueError("no source is named, expected at least one")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file."""
        return env_settings, init_settings

    @property
    def parameters(self) -> dict[str, str]:
        """What the SQL of staging and marts is given beside the day of the run."""
        return {"kpi_value": self.kpi.value, "timezone": self.timezone, "currency": self.currency}

    def reading(self, table: str) -> dict[str, Any]:
        """How a source is read, beside what stands in its own section."""
        return {
            "allow_outside": self.allow_outside,
            "timezone": self.timezone,
            "currency": self.currency,
            "address": self.address(table),
        }

    def address(self, table: str) -> SecretStr | None:
        """The address of a source's database, where the source names the environment variable that holds it.

        Raises
        ------
        ConfigError : that variable is not set.
        """
        database = self.sources[table].database
        if database is None or not database.startswith(FROM_ENVIRONMENT):
            return None
        name = database.removeprefix(FROM_ENVIRONMENT)
        if not os.environ.get(name):
            raise ConfigError(
                f"sources.{table}.database is {database}; expected an environment variable {name} with the address.\n"
                f"Set {name}=postgresql://user:password@host/database and run again."
            )
        return SecretStr(os.environ[name])

    def sha256(self) -> str:
        """Hash of everything that can change a result; alerts cannot."""
        plain = self.model_dump(mode="json", exclude={"alerts"})
        return hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()


def load_settings(workspace: Path) -> Settings:
    """Read `marginal.yaml` of a workspace.

    Raises
    ------
    ConfigError : no file, not YAML, an unknown key (with the nearest valid one), a value out of range.
    """
    file = workspace / "marginal.yaml"
    if not file.is_file():
        raise ConfigError(
            f"{workspace} holds no marginal.yaml; expected a workspace.\n"
            f"Write a starter with: marginal init {workspace}"
        )
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"marginal.yaml is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ConfigError("marginal.yaml is empty or not a mapping; expected keys such as company and sources.")
    try:
        return Settings(**content)
    except ValidationError as error:
        raise ConfigError(_plain_message(error)) from None  # it holds what was found, secrets too
    except SettingsError as error:
        raise ConfigError(
            f"An environment variable MARGINAL__... is not valid: {str(error).split(' from source')[0]}; "
            "expected JSON for a whole section.\n"
            "Set single keys instead, for example MARGINAL__ALERTS__TIMEOUT_SECONDS=5."
        ) from None


def _plain_message(error: ValidationError) -> str:
    """Up to four lines: where, what was found, what was expected."""
    lines = []
    for problem in error.errors()[:4]:
        place = ".".join(str(part) for part in problem["loc"] if part != "[key]")
        if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            lines.append(_unknown_key(problem["loc"]))
        elif problem["type"] == "literal_error" and problem["loc"][-1] == "[key]":
            lines.append(_unknown_key(problem["loc"][:-1]))
        elif problem["type"] in ("missing", "missing_argument"):
            lines.append(f"marginal.yaml: {place} is missing; add it.")
        else:
            message = problem["msg"].removeprefix("Value error, ")
            is_told = problem["type"] != "value_error" and problem["loc"][0] not in SECRET_SECTIONS
            found = f", found {problem['input']!r}" if is_told else ""
            lines.append(f"marginal.yaml: {place}: {message}{found}")
    return "\n".join(lines)


def _unknown_key(location: tuple[int | str, ...]) -> str:
    *parents, key = (str(part) for part in location)
    valid = _valid_keys(parents)
    near = difflib.get_close_matches(key, valid, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(sorted(valid))}."
    where = f" in {'.'.join(parents)}" if parents else ""
    return f"marginal.yaml: unknown key {key}{where}; {hint}"


def _valid_keys(parents: list[str]) -> list[str]:
    """Names that are valid below a path of the configuration."""
    if not parents:
        return list(Settings.model_fields)
    if parents == ["sources"]:
        return list(SOURCE_TABLES)
    kind: Any = SourceConfig if parents[0] == "sources" else Settings.model_fields[parents[0]].annotation
    for name in parents[2 if parents[0] == "sources" else 1 :]:
        kind = next((entry.type for entry in fields(kind) if entry.name == name), None) if is_dataclass(kind) else None
        kind = next((part for part in get_args(kind) if is_dataclass(part)), kind)
    return [entry.name for entry in fields(kind)] if is_dataclass(kind) else []
