"""From starting the process to an API that answers."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.processes.harness import BASE

from benchmarks.report import Options, Row, middle

EXECUTABLE = Path("dist/backburner")


def measure(options: Options) -> list[Row]:
    rows = [_row("start of `backburner serve`, empty folder", [sys.executable, "-m", "backburner"], 1.5, options.runs)]
    if EXECUTABLE.exists():
        rows.append(
            _row("start of the single executable, empty folder", [str(EXECUTABLE.resolve())], 3.0, options.runs)
        )
    return rows


def _row(what: str, program: list[str], target: float, runs: int) -> Row:
    ours = middle(_start(program) for _ in range(runs))
    bare = middle(_bare_start() for _ in range(runs))
    return Row(what=what, unit="s", ours=ours, raw=bare, raw_name="bare Python", target=target, better="less")


def _bare_start() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return time.perf_counter() - began


def _start(program: list[str]) -> float:
    with tempfile.TemporaryDirectory(prefix="backburner-bench-") as folder:
        environ = {**os.environ, **BASE, "BACKBURNER_PROFILE": f"{folder}/profile.toml"}
        began = time.perf_counter()
        with subprocess.Popen(
            [*program, "serve"], cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            try:
                assert process.stdout is not None
                if not any(line.strip() == "ready" for line in process.stdout):
                    raise RuntimeError("the server did not start")
                return time.perf_counter() - began
            finally:
                process.kill()
