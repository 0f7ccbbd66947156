"""The mutation gate: each known bug, one line where a promise rests, has to be found by some seed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import attrs
import msgspec

from simulation.mutants import MUTANTS, Mutant

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "backburner"
MOST_SEEDS = 500


class Found(msgspec.Struct, kw_only=True):
    """Which seed found a mutant, by which invariant, and how many were tried; None when none did."""

    seed: int | None
    invariant: str | None
    tried: int


@attrs.frozen
class Verdict:
    mutant: Mutant
    found: Found

    @property
    def row(self) -> str:
        seed = "NOT FOUND" if self.found.seed is None else str(self.found.seed)
        found = self.found
        return f"| {self.mutant.name} | {self.mutant.promise} | {found.invariant or '-'} | {seed} | {found.tried} |"


HEADING = "| bug | promise | found by | seed | seeds tried |\n|---|---|---|---|---|"


def mutated(mutant: Mutant, text: str) -> str:
    """The file's text with the bug. Raises ValueError when the line is not there any more."""
    if text.count(mutant.old) != 1:
        raise ValueError(f"{mutant.name}: {mutant.file} holds the line {text.count(mutant.old)} times: {mutant.old!r}")
    return text.replace(mutant.old, mutant.new)


def check_mutant(mutant: Mutant) -> None:
    """Raise ValueError when the mutant does not fit the source."""
    mutated(mutant, (SOURCE / mutant.file).read_text())


def hunt(mutant: Mutant, most: int = MOST_SEEDS) -> Verdict:
    """Run seeds against a copy of the source with the bug until one finds it."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "backburner"
        shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("__pycache__"))
        file = copy / mutant.file
        file.write_text(mutated(mutant, file.read_text()))
        found = _search(mutant, folder, 0, most)
        while found.seed is not None and _search(mutant, str(SOURCE.parent), found.seed, found.tried).seed is not None:
            found = _search(mutant, folder, found.tried, most)  # without the bug the seed does not pass either
    return Verdict(mutant, found)


def _search(mutant: Mutant, source: str, first: int, most: int) -> Found:
    """Run seeds from `first` to before `most` in a process of its own, with the program from that folder."""
    done = subprocess.run(
        [sys.executable, "-m", "simulation", "--hunt", mutant.name, "--first", str(first), "--most", str(most)],
        env={**os.environ, "PYTHONPATH": f"{source}{os.pathsep}{ROOT}"},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
    )
    return msgspec.json.decode(done.stdout, type=Found)


def hunt_all(names: Sequence[str], most: int, *, jobs: int) -> Iterator[Verdict]:
    """Verdicts as they come; all mutants when none is named."""
    chosen = [mutant for mutant in MUTANTS if not names or mutant.name in names]
    with ThreadPoolExecutor(jobs) as pool:
        for done in as_completed([pool.submit(hunt, mutant, most) for mutant in chosen]):
            yield done.result()
