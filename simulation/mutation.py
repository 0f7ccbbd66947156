"""The mutation gate: each known bug, one line where a promise rests, has to be found by some seed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

import attrs
import msgspec

from simulation.mutants import MUTANTS, Mutant
from simulation.seeds import replay

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "backburner"
MOST_SEEDS = 500
TESTS_PASSED, TESTS_FAILED = 0, 1  # pytest's exit codes


class Found(msgspec.Struct, kw_only=True):
    """Which seed found a mutant, by which invariant, and how many were tried; None when none did.

    A mutant that a test has to find has no seed, and the test's name for the invariant.
    """

    seed: int | None
    invariant: str | None
    tried: int


@attrs.frozen
class Verdict:
    mutant: Mutant
    found: Found

    @property
    def is_found(self) -> bool:
        return self.found.invariant is not None

    @property
    def row(self) -> str:
        mutant, found = self.mutant, self.found
        again = f"`{replay(found.seed, mutant.name)}`" if self.is_found else "NOT FOUND"
        return f"| {mutant.name} | {mutant.promise} | {found.invariant or '-'} | {found.tried} | {again} |"


HEADING = "| bug | promise | found by | seeds tried | found again by |\n|---|---|---|---|---|"


def named(name: str) -> Mutant:
    return next(mutant for mutant in MUTANTS if mutant.name == name)


def mutated(mutant: Mutant, text: str) -> str:
    """The file's text with the bug. Raises ValueError when the line is not there any more."""
    if text.count(mutant.old) != 1:
        raise ValueError(f"{mutant.name}: {mutant.file} holds the line {text.count(mutant.old)} times: {mutant.old!r}")
    return text.replace(mutant.old, mutant.new)


def check_mutant(mutant: Mutant) -> None:
    """Raise ValueError when the mutant does not fit the source."""
    mutated(mutant, (SOURCE / mutant.file).read_text())


def hunt(mutant: Mutant, most: int = MOST_SEEDS) -> Verdict:
    """Run seeds against a copy of the source with the bug until one finds it; or the test that has to."""
    if mutant.test is not None:
        return _tested(mutant, mutant.test)
    with _source_with(mutant) as source:
        found = _search(mutant, source, 0, most)
        while found.seed is not None and _search(mutant, SOURCE.parent, found.seed, found.tried).seed is not None:
            found = _search(mutant, source, found.tried, most)  # without the bug the seed does not pass either
    return Verdict(mutant, found)


def _tested(mutant: Mutant, test: str) -> Verdict:
    with _source_with(mutant) as source:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test],
            env={**os.environ, "PYTHONPATH": f"{source}{os.pathsep}{ROOT}"},
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            check=False,
        )
    if done.returncode not in (TESTS_PASSED, TESTS_FAILED):
        raise RuntimeError(f"{mutant.name}: pytest {test} ended with {done.returncode}")
    found_by = f"`{test}`" if done.returncode == TESTS_FAILED else None
    return Verdict(mutant, Found(seed=None, invariant=found_by, tried=0))


def run_mutant(mutant: Mutant, seed: int, until_step: int | None = None) -> int:
    """Run one seed with the bug, showing every event; the exit code, 1 when a promise was broken."""
    until = [] if until_step is None else ["--until-step", str(until_step)]
    with _source_with(mutant) as source:
        return _run(mutant, source, "--seed", str(seed), *until).returncode


@contextmanager
def _source_with(mutant: Mutant) -> Iterator[Path]:
    """A copy of the program with the bug."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / SOURCE.name
        shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("__pycache__"))
        file = copy / mutant.file
        file.write_text(mutated(mutant, file.read_text()))
        yield Path(folder)


def _search(mutant: Mutant, source: Path, first: int, most: int) -> Found:
    """Run seeds from `first` to before `most`."""
    done = _run(mutant, source, "--first", str(first), "--most", str(most), stdout=subprocess.PIPE)
    done.check_returncode()
    return msgspec.json.decode(done.stdout, type=Found)


def _run(mutant: Mutant, source: Path, *options: str, stdout: int | None = None) -> subprocess.CompletedProcess[bytes]:
    """A process of its own, with the program from that folder."""
    return subprocess.run(
        [sys.executable, "-m", "simulation", "--hunt", mutant.name, *options],
        env={**os.environ, "PYTHONPATH": f"{source}{os.pathsep}{ROOT}"},
        cwd=ROOT,
        stdout=stdout,
        check=False,
    )


def hunt_all(names: Sequence[str], most: int, *, jobs: int) -> Iterator[Verdict]:
    """Verdicts as they come; all mutants when none is named."""
    chosen = [mutant for mutant in MUTANTS if not names or mutant.name in names]
    with ThreadPoolExecutor(jobs) as pool:
        for done in as_completed([pool.submit(hunt, mutant, most) for mutant in chosen]):
            yield done.result()
