"""The demo and the server as a newcomer starts them: real processes, real sockets."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from backburner.client import Client
from backburner.profiles import read_profile

SRC = Path(__file__).parent.parent.parent / "src"

pytestmark = pytest.mark.processes


def environ(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BACKBURNER_")}
    return kept | {"PYTHONPATH": str(SRC), "BACKBURNER_PROFILE": str(folder / "profile.toml")}


def test_the_demo_runs_a_batch_to_its_verified_webhook_and_exits(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "backburner", "demo", "--once", "--items", "20"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=environ(tmp_path),
        timeout=60,
    )
    assert (done.returncode, done.stderr.count("Error")) == (0, 0)
    lines = done.stdout.splitlines()
    assert "Results:  20 of 20 succeeded" in lines
    assert "Webhook:  job.completed, signature verified" in lines
    assert list(tmp_path.iterdir()) == []


def test_a_first_start_saves_a_key_that_works_and_sigterm_ends_it_well(tmp_path):
    command = [sys.executable, "-m", "backburner", "serve", "--port", "0", "--provider", "sandbox"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=tmp_path, env=environ(tmp_path)
    ) as process:
        assert process.stdout is not None
        banner = list(iter(process.stdout.readline, "ready\n"))
        saved = read_profile(tmp_path / "profile.toml")
        assert saved is not None
        with Client(saved.url, saved.key) as client:
            leads = client.scheduler()["is_leader"]
        process.send_signal(signal.SIGTERM)
        code = process.wait(20)
    named = [line.split(":")[0].strip() for line in (banner[0], *banner[3:])]
    assert named == ["Key", "API", "Database", "Provider", "Role"]
    assert (leads, code) == (True, 0)
    assert stat.S_IMODE((tmp_path / "profile.toml").stat().st_mode) == 0o600
