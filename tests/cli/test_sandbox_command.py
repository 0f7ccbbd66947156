"""The sandbox as a program of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

SRC = Path(__file__).parent.parent.parent / "src"
HEADERS = {"x-api-key": "any", "anthropic-version": "2023-06-01"}


@pytest.mark.processes
def test_it_serves_until_sigterm_with_the_faults_it_was_given():
    command = [sys.executable, "-m", "backburner", "sandbox", "--port", "0", "--fault", "list:529@1"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(SRC)}
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().removeprefix("Sandbox:  ").strip()
        assert process.stdout.readline() == "ready\n"
        answers = [httpx2.get(f"{url}/v1/messages/batches", headers=HEADERS, trust_env=False) for _ in range(2)]
        process.send_signal(signal.SIGTERM)
        assert ([answer.status_code for answer in answers], process.wait(10)) == ([529, 200], 0)


@pytest.mark.sockets
def test_a_port_that_is_taken_is_one_line(terminal):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = terminal.run("sandbox", "--port", str(port))
    assert ran.code == 1
    assert ran.err.startswith(f"Error: Cannot listen on 127.0.0.1:{port}: ")
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["--fault", "nonsense"],
        ["--fault", "moon:429"],
        ["--batch-seconds", "5-1"],
        ["--errored", "2"],
        ["--speed", "0"],
    ],
)
def test_what_cannot_be_is_wrong_usage(terminal, arguments):
    ran = terminal.run("sandbox", *arguments)
    assert ran.code == 2
    assert f"Invalid value for '{arguments[0]}'" in ran.err
