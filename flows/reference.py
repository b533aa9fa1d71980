"""The configuration reference, made from the settings themselves: `python -m flows.reference > docs/config.md`."""

import inspect
import re
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

from flows.settings import SOURCE_TABLES, Settings
from models.sources import SourceConfig

HEAD = """# Configuration: `marginal.yaml`

Made by `python -m flows.reference > docs/config.md`; a test keeps it in step with the code. Unknown keys are refused
with the nearest valid name. An environment variable `MARGINAL__SECTION__KEY` overrides the file; secrets belong there.
The smallest valid file names a `company` and one source.
"""


def table(rows: list[tuple[str, str, str]]) -> str:
    """A Markdown table of key, default, meaning."""
    lines = ["| key | default | meaning |", "|---|---|---|"]
    lines += [
        f"| `{key}` | {f'`{default}`' if default else 'required'} | {meaning} |" for key, default, meaning in rows
    ]
    return "\n".join(lines)


def plain(value: Any) -> str:
    """A default as YAML would show it."""
    if value is None:
        return "null"
    return str(list(value) if isinstance(value, tuple) else value).replace("|", "\\|")


def comments(kind: type) -> dict[str, str]:
    """The remark on each field's line in the source."""
    found = re.findall(r"^    (\w+): [^\n#]*?(?:#\s*([^\n]*))?$", inspect.getsource(kind), re.MULTILINE)
    return {name: remark.replace("|", "\\|") for name, remark in found}


def section(prefix: str, kind: type) -> list[tuple[str, str, str]]:
    """Rows of a settings dataclass, nested ones unfolded."""
    rows, remarks = [], comments(kind)
    for entry in fields(kind):
        key = f"{prefix}.{entry.name}"
        default = entry.default_factory() if entry.default_factory is not MISSING else entry.default
        if is_dataclass(default):
            rows += section(key, type(default))
        else:
            rows.append((key, "" if default is MISSING else plain(default), remarks.get(entry.name, "")))
    return rows


def reference() -> str:
    """The whole page."""
    top, parts = [], []
    for name, entry in Settings.model_fields.items():
        if is_dataclass(entry.annotation):
            words = (inspect.getdoc(entry.annotation) or "").splitlines()[0]
            parts.append(f"## {name}\n\n{words}\n\n{table(section(name, entry.annotation))}\n")
        else:
            default = "" if entry.is_required() else plain(entry.get_default(call_default_factory=True))
            top.append((name, default, entry.description or ""))
    sources = (inspect.getdoc(SourceConfig) or "").split("----------\n", 1)[-1]
    listed = [f"- {line}" if re.match(r"\w+ : ", line) else f"  {line.strip()}" for line in sources.splitlines()]
    tables = ", ".join(f"`{name}`" for name in SOURCE_TABLES)
    parts.insert(
        0, f"## sources\n\nOne entry for each of {tables}: a path, or a mapping of\n\n" + "\n".join(listed) + "\n"
    )
    return "\n".join([HEAD, table(top), "", *parts])


if __name__ == "__main__":
    print(reference(), end="")
