"""A command run against a server made of prepared answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
from tests.client.fakes import Answer, Script, script

from backburner.__main__ import run
from backburner.cli.world import World
from backburner.profiles import Profile, Profiles


@attrs.frozen
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str
    server: Script


@attrs.frozen
class Terminal:
    """Runs commands; its clock moves only while they sleep."""

    capture: pytest.CaptureFixture[str]
    folder: Path
    environ: dict[str, str] = attrs.field(factory=dict)
    now: list[float] = attrs.field(factory=lambda: [0.0])

    @property
    def profile(self) -> Path:
        return self.folder / "config" / "profile.toml"

    def knows(self, url: str, key: str, name: str | None = None) -> str:
        """Have a profile; its name."""
        return Profiles.of({"BACKBURNER_PROFILE": str(self.profile)}).add(Profile(url, key), name)

    def run(self, *arguments: str, answers: list[Answer] | None = None) -> Ran:
        server = script(*(answers or [OSError("no server was expected to be asked")]))
        world = World(
            environ={"BACKBURNER_PROFILE": str(self.profile)} | self.environ,
            monotonic=lambda: self.now[0],
            sleep=self._sleep,
            transport=server.transport,
        )
        code = run(arguments, world)
        captured = self.capture.readouterr()
        return Ran(int(code), captured.out, captured.err, server)

    def _sleep(self, seconds: float) -> None:
        self.now[0] += seconds


@pytest.fixture
def terminal(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Terminal:
    return Terminal(capsys, tmp_path)


@pytest.fixture
def batch_file(tmp_path: Path) -> Callable[..., str]:
    def write(content: bytes = b'{"custom_id":"a","params":{}}\n', name: str = "batch.ndjson") -> str:
        path = tmp_path / name
        path.write_bytes(content)
        return str(path)

    return write
