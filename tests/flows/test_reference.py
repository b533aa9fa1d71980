"""The configuration reference is what the settings say."""

from pathlib import Path

from flows.reference import reference
from flows.settings import Settings

PAGE = Path(__file__).parents[2] / "docs" / "config.md"


def test_the_page_is_in_step_with_the_settings() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference(), "run: python -m flows.reference > docs/config.md"


def test_every_key_says_what_it_means() -> None:
    rows = [line for line in reference().splitlines() if line.startswith("| `")]
    assert len(rows) > 60
    assert [line for line in rows if line.endswith("|  |")] == []
    assert all(f"`{name}`" in reference() or f"## {name}" in reference() for name in Settings.model_fields)
