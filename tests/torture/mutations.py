"""Damage to a file, the same for the same number: what transfers, spreadsheets and attackers do to exports."""

import gzip
import json
import random
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.torture.seeds import Seed

MASTER = 20260101  # another number, other inputs
LARGE = 1_000_000  # bytes from which a file is left as it is: size has its own tests
EVIL = {
    "number": ["1e999", "-1e999", "1e308", "NaN", "0x10", "1_000", "1,234.56", "1.234,56", "9" * 400, "-0", "½", "∞"],
    "date": ["0000-00-00", "9999-12-31", "2026-02-30", "-4713-01-01", "294247-01-10", "infinity", "31/12/2026", "now"],
    "right-to-left": ["\u202e2026-01-01", "שלום", "\u200f1.5", "مرحبا\u2066", "e\u0301" * 50, "\U0001f4b6" * 9],
    "formula": ["=1+1", "=cmd|' /C calc'!A0", "+1-1", "@SUM(A1)", '=HYPERLINK("http://127.0.0.1","x")'],
    "sql": [
        '"; drop table raw.ad_spend; --',
        "'); drop table out.lineage; --",
        "x'; attach 'stolen.duckdb' as s; --",
        "copy raw.controls to 'stolen.csv'",
        "$run_id",
        "?",
        "%s{}{0}",
        "'||(select version())||'",
    ],
    "path": [
        "../../etc/passwd",
        "/etc/hostname",
        "read_text('/etc/hostname')",
        "file:///etc/hostname",
        "landing/*",
        "\\\\a\\b",
    ],
    "control": ["\x1b[2J", "\x07", "\x85", "\u2028", "\u2029", "\ufeff", "\x0b", "\x0c", "\x1c", "\ufffd", "\x7f"],
    "name": [
        "_file",
        "_row_number",
        "_load_id",
        "rowid",
        "input",
        "rows_read",
        "v0",
        "t0",
        "check_ids",
        "reason",
        "",
        "*",
    ],
}
ENCODINGS = ("utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "cp037", "shift_jis", "utf-7")


@dataclass(frozen=True, kw_only=True)
class Input:
    """A file to load. `rows` is the number of its rows of data where Python alone can tell it, else None."""

    number: int
    suffix: str
    content: bytes
    table: str
    story: str
    rows: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


Mutation = Callable[[random.Random, bytes, bytes], bytes]


def flip(rng: random.Random, data: bytes, _other: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 3, 20))):
        place = rng.randrange(len(changed))
        changed[place] ^= 1 << rng.randrange(8)
    return bytes(changed)


def delete(rng: random.Random, data: bytes, _other: bytes) -> bytes:
    start, end = _slice(rng, data)
    return data[:start] + data[end:]


def insert(rng: random.Random, data: bytes, _other: bytes) -> bytes:
    start, _ = _slice(rng, data)
    return data[:start] + rng.randbytes(rng.choice((1, 2, 30, 3000))) + data[start:]


def duplicate(rng: random.Random, data: bytes, _other: bytes) -> bytes:
    start, end = _slice(rng, data)
    return data[:end] + data[start:end] * rng.choice((1, 2, 50)) + data[end:]


def truncate(rng: random.Random, data: bytes, _other: bytes) -> bytes:
    return data[: rng.randrange(len(data))]


def behead(rng: random.Random, data: bytes, _other: bytes) -> bytes:
    return data[rng.randrange(len(data)) :]


def splice(rng: random.Random, data: bytes, other: bytes) -> bytes:
    return data[: rng.randrange(len(data))] + other[rng.randrange(len(other)) :]


def append_other(_rng: random.Random, data: bytes, other: bytes) -> bytes:
    return data + other


def reencode(rng: random.Random, data: bytes, _other: bytes) -> bytes:
    text = data.decode("utf-8", errors="replace")
    return text.encode(rng.choice(ENCODINGS), errors="replace")


def half_reencoded(rng: random.Random, data: bytes, other: bytes) -> bytes:
    place = rng.randrange(len(data))
    return data[:place] + reencode(rng, data[place:], other)


def nuls(rng: random.Random, data: bytes, _other: bytes) -> bytes:
    start, end = _slice(rng, data)
    return data[:start] + b"\0" * rng.choice((1, end - start, 70_000)) + data[end:]


def quote(rng: random.Random, data: bytes, _other: bytes) -> bytes:
    for _ in range(rng.choice((1, 1, 2, 9))):
        start, _ = _slice(rng, data)
        data = data[:start] + rng.choice((b'"', b'""', b"'", b'\\"', b'"\n')) + data[start:]
    return data


def newlines(rng: random.Random, data: bytes, _other: bytes) -> bytes:
    parts = data.replace(b"\r\n", b"\n").split(b"\n")
    return b"".join(part + rng.choice((b"\n", b"\r\n", b"\r", b"\n\n", b"\r\r\n", b"\n\r")) for part in parts)


def mark_inside(rng: random.Random, data: bytes, _other: bytes) -> bytes:
    start, _ = _slice(rng, data)
    return data[:start] + rng.choice((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")) + data[start:]


def mark_in_front(rng: random.Random, data: bytes, _other: bytes) -> bytes:
    marks = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf\xef\xbb\xbf", b"\x1f\x8b", b"PAR1")
    return rng.choice(marks) + data


def huge_field(rng: random.Random, data: bytes, _other: bytes) -> bytes:
    start, _ = _slice(rng, data)
    sign = rng.choice((b"x", b"9", b" ", b'"', b"\xc3\xa4"))
    return data[:start] + sign * rng.choice((3000, 300_000, 3_000_000)) + data[start:]


def wide(rng: random.Random, data: bytes, _other: bytes) -> bytes:
    """10 000 more columns, in every row or in the header alone."""
    lines = data.split(b"\n")
    mark = rng.choice((b",", b";", b"\t"))
    names = mark + mark.join(b"c%d" % number for number in range(10_000))
    rest = mark * 10_000 if rng.random() < 0.5 else b""
    wider = [line + rest if line and number < 50 else line for number, line in enumerate(lines[1:])]  # not for size
    return b"\n".join([lines[0] + names, *wider])


def tall(_rng: random.Random, data: bytes, _other: bytes) -> bytes:
    head, _, rest = data.partition(b"\n")
    return head + b"\n" + rest * (200_000 // (len(rest) + 1) + 1)


def blank_lines(rng: random.Random, data: bytes, _other: bytes) -> bytes:
    start, _ = _slice(rng, data)
    return data[:start] + rng.choice((b"\n", b"\r\n", b" \n", b",,,,,\n")) * rng.choice((1, 60, 5000)) + data[start:]


def preamble(rng: random.Random, data: bytes, _other: bytes) -> bytes:
    line = rng.choice((b"Report\n", b'"a, b",,,\n', b"# note\n", b"date,cost\n", b"\xc3\xa4" * 300 + b"\n"))
    return line * rng.choice((1, 3, 39, 41, 500)) + data


def totals(rng: random.Random, data: bytes, _other: bytes) -> bytes:
    lines = (b"Total,,99,9,9,\n", b"Total: Account, --,1\n", b"Gesamt;;1;2;3;\n", b"\xc2\xa9 2026 Company\n", b"Total")
    return data.rstrip(b"\n") + b"\n" + rng.choice(lines) * rng.choice((1, 2, 30))


def nest(rng: random.Random, data: bytes, _other: bytes) -> bytes:
    """JSON as deep as a parser's stack allows, and deeper."""
    depth = rng.choice((50, 1000, 100_000))
    opening, closing = rng.choice(((b"[", b"]"), (b'{"date":', b"}")))
    deep = opening * depth + rng.choice((b"1", b'"x"', b"")) + closing * (depth if rng.random() < 0.7 else 0)
    places = (deep, data + b"\n" + deep, data.replace(b": ", b": " + deep + b", ", 1), b'{"date": ' + deep + b"}")
    return rng.choice(places)


def footer(rng: random.Random, data: bytes, _other: bytes) -> bytes:
    """Damage in the last bytes, where Parquet and gzip keep what all else hangs on."""
    tail = min(len(data), rng.choice((8, 12, 200, 1500)))
    end = bytearray(data[-tail:])
    for _ in range(rng.choice((1, 4))):
        end[rng.randrange(tail)] = rng.randrange(256)
    return data[:-tail] + bytes(end)


def header(rng: random.Random, data: bytes, _other: bytes) -> bytes:
    """Another name in the first line: of ours, of SQL, twice the same, none."""
    head, line, rest = data.partition(b"\n")
    names = head.split(b",")
    fresh = rng.choice([*EVIL["name"], *EVIL["sql"], *EVIL["control"], "x" * 5000, "cost", "COST"]).encode()
    names[rng.randrange(len(names))] = _maybe_quoted(rng, fresh)
    return b",".join(names) + line + rest


def extra_column(rng: random.Random, data: bytes, _other: bytes) -> bytes:
    """One more column under a strange name, with strange values."""
    mark = rng.choice((b",", b",", b";", b"\t"))
    name, value = (_maybe_quoted(rng, rng.choice(EVIL[kind]).encode()) for kind in (rng.choice(("name", "sql")), "sql"))
    head, *lines = data.split(b"\n")
    return b"\n".join([head + mark + name, *(line + mark + value if line else line for line in lines)])


def evil(kind: str) -> Mutation:
    """Values of a kind in the place of a few values."""

    def mutation(rng: random.Random, data: bytes, _other: bytes) -> bytes:
        for _ in range(rng.choice((1, 1, 2, 40))):
            marks = [place for place, byte in enumerate(data) if byte in b',;\t|\n:"']
            if len(marks) < 2:
                return data + rng.choice(EVIL[kind]).encode()
            index = rng.randrange(len(marks) - 1)
            start, end = marks[index] + 1, marks[index + 1]
            data = data[:start] + _maybe_quoted(rng, rng.choice(EVIL[kind]).encode()) + data[end:]
        return data

    return mutation


BYTES: dict[str, Mutation] = {
    mutation.__name__: mutation
    for mutation in (
        *(flip, delete, insert, duplicate, truncate, behead, splice, append_other, reencode, half_reencoded, nuls),
        *(quote, newlines, mark_inside, mark_in_front, huge_field, wide, tall, blank_lines, preamble, totals, nest),
        *(footer, header, extra_column),
    )
} | {f"evil {kind}": evil(kind) for kind in EVIL}
ROWS = ("shuffle rows", "duplicate rows", "drop rows")  # of a plain CSV: what they leave can be counted
NAMES = (*BYTES, *ROWS)


def make_input(number: int, seeds: Sequence[Seed]) -> Input:
    """The `number`-th input: first each seed as it is, then mutations in turn, each of a seed drawn for it."""
    rng = random.Random(f"{MASTER}-{number}")
    if number < len(seeds):
        seed = seeds[number]
        return _input(number, seed, seed.content, f"{seed.name} as it is", seed.rows)
    kind = NAMES[(number - len(seeds)) % len(NAMES)]
    if kind in ROWS:
        return _rows_mutated(number, rng, kind, rng.choice([seed for seed in seeds if seed.is_plain]))
    seed, other = rng.choice(seeds), rng.choice(seeds)
    content, story = seed.content, [seed.name]
    for name in [kind, *rng.choices(list(BYTES), k=rng.choice((0, 0, 1, 2)))]:
        if len(content) < LARGE:
            content = _mutate(rng, name, content, other.content)
            story.append(name)
    return _input(number, seed, content, ", ".join(story), None)


def _mutate(rng: random.Random, name: str, content: bytes, other: bytes) -> bytes:
    """One mutation; inside a compressed file half of the time."""
    if not content:
        return other
    if content[:2] == b"\x1f\x8b" and rng.random() < 0.5:
        try:
            inside = gzip.decompress(content)
        except (OSError, EOFError, zlib.error):
            inside = b""
        if inside:
            return gzip.compress(BYTES[name](rng, inside, other), mtime=0)
    return BYTES[name](rng, content, other)


def _rows_mutated(number: int, rng: random.Random, kind: str, seed: Seed) -> Input:
    head, *lines = seed.content.decode().splitlines(keepends=True)
    lines = [line if line.endswith("\n") else line + "\n" for line in lines]
    if kind == "shuffle rows":
        rng.shuffle(lines)
    elif kind == "duplicate rows":
        lines += rng.choices(lines, k=rng.choice((1, 5, 50)))
    else:
        lines = rng.sample(lines, k=rng.randrange(2, len(lines)))
    return _input(number, seed, (head + "".join(lines)).encode(), f"{seed.name}, {kind}", len(lines))


def _input(number: int, seed: Seed, content: bytes, story: str, rows: int | None) -> Input:
    return Input(
        number=number,
        suffix=seed.suffix,
        content=content,
        table=seed.table,
        options=seed.options,
        story=story,
        rows=rows,
    )


def _slice(rng: random.Random, data: bytes) -> tuple[int, int]:
    start = rng.randrange(len(data) + 1)
    return start, min(len(data), start + rng.choice((1, 2, 10, 100, 1000)))


def _maybe_quoted(rng: random.Random, value: bytes) -> bytes:
    return b'"' + value.replace(b'"', b'""') + b'"' if rng.random() < 0.5 else value


def as_request(one: Input) -> str:
    """The input without its bytes, as a line of JSON."""
    plain = {"number": one.number, "suffix": one.suffix, "table": one.table, "story": one.story, "rows": one.rows}
    return json.dumps({**plain, "options": dict(one.options)})
