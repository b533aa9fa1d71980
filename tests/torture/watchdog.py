"""Inputs judged in a process of their own, under a watchdog: a hang or a crash is an answer too, with the input saved.

The child is `python -m tests.torture.watchdog WORKSPACE`: a line of JSON and the file's bytes in, a line of JSON out.
"""

import contextlib
import json
import queue
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any, Self

from tests.torture.laws import PATIENCE, Bench, as_answer
from tests.torture.mutations import Input, as_request

ROOT = Path(__file__).parents[2]
STARTING = 120.0  # seconds for the imports and the first check, on a machine that is busy
GRACE = 5.0  # seconds above the limit, in which the child itself may still say that it was too slow
ANEW = 50  # inputs until the workspace is made anew


class Watched:
    """A child that judges inputs, started again after each hang or crash."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.process, self.lines = folder, None, queue.SimpleQueue()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop()

    def judge(self, one: Input, *, also_check: bool = True, again: bool = False) -> dict[str, Any]:
        """The child's answer, with `broken` naming each law that the input broke."""
        if self.process is None:
            self._start()
        request = json.loads(as_request(one)) | {"size": len(one.content), "also_check": also_check, "again": again}
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n" + one.content)
            self.process.stdin.flush()
            line = self.lines.get(timeout=PATIENCE * (1 + again) + GRACE)
        except BrokenPipeError:
            line = b""
        except queue.Empty:
            return self._lost(one, f"no answer after {PATIENCE:.0f} s")
        if not line:
            return self._lost(one, f"the interpreter ended with code {self.process.wait()}")
        answer = json.loads(line)
        if answer["broken"]:
            answer["saved"] = str(self._save(one))
        return answer

    def _start(self) -> None:
        workspace = tempfile.mkdtemp(dir=self.folder)
        command = [sys.executable, "-m", "tests.torture.watchdog", workspace]
        self.errors = (self.folder / "child.log").open("ab")
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors
        )
        self.lines = queue.SimpleQueue()
        threading.Thread(target=_read, args=(self.process.stdout, self.lines), daemon=True).start()
        if not self.lines.get(timeout=STARTING):
            raise RuntimeError((self.folder / "child.log").read_text()[-2000:])

    def _stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            for stream in (self.process.stdin, self.errors):
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
            self.process = None

    def _lost(self, one: Input, why: str) -> dict[str, Any]:
        self._stop()
        return {
            "outcome": "lost",
            "message": why,
            "broken": [why],
            "seconds": PATIENCE,
            "checked": False,
            "read": 0,
            "saved": str(self._save(one)),
        }

    def _save(self, one: Input) -> Path:
        file = self.folder / f"broken-{one.number}{one.suffix}"
        file.write_bytes(one.content)
        return file


def _read(stream: Any, lines: queue.SimpleQueue) -> None:
    for line in stream:
        lines.put(line)
    lines.put(b"")
    stream.close()


def main(workspace: Path) -> None:
    """Judge what comes in until the parent goes."""
    answers = sys.stdout
    sys.stdout = sys.stderr  # nothing but answers goes to the parent
    bench, judged = Bench(workspace), 0
    print("ready", file=answers, flush=True)
    while line := sys.stdin.buffer.readline():
        request = json.loads(line)
        content = sys.stdin.buffer.read(request.pop("size"))
        also_check, again = request.pop("also_check"), request.pop("again")
        if judged % ANEW == ANEW - 1:
            bench = Bench(workspace)
        verdict = bench.judge(Input(content=content, **request), also_check=also_check, again=again)
        judged += 1
        if verdict.outcome == "bug" or "tables or columns changed" in str(verdict.broken):
            judged = ANEW - 1  # what a bug leaves behind is not the next input's fault
        print(json.dumps(as_answer(verdict)), file=answers, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
