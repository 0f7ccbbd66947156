"""The program as a whole: help, how errors end it, the banner."""

from __future__ import annotations

import json
import subprocess
import sys

import attrs
import pytest

from backburner.__main__ import run
from backburner.cli.banner import announce
from backburner.cli.exits import only_cause
from backburner.cli.profile import Profile, load
from backburner.cli.root import root
from backburner.errors import StorageUnusable


@attrs.frozen
class Ready:
    url: str = "http://127.0.0.1:8283"
    database: str = "postgresql://me:canary@host/db"
    provider: str = "sandbox"
    role: str = "leader"
    admin_key: str | None = "bb_first"


def test_the_program_alone_shows_the_three_commands_a_newcomer_needs(capsys):
    run([])
    captured = capsys.readouterr()
    for command in ("backburner demo", "backburner serve", "backburner submit FILE --wait"):
        assert command in captured.out + captured.err


def test_help_imports_none_of_the_heavy_libraries():
    heavy = {"trio", "httpx2", "sqlalchemy", "rich", "quart", "anthropic"}
    program = (
        "import sys, backburner.__main__ as m; m.run(['--help']); "
        f"sys.exit(' '.join({heavy!r} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("command", [["jobs", "list"], ["submit"], ["watch"], ["sandbox"], ["keys", "create"]])
def test_every_command_has_help(capsys, command):
    assert run([*command, "--help"]) == 0
    assert "Usage: backburner" in capsys.readouterr().out


def test_every_command_of_the_contract_is_there():
    named = (
        "serve demo sandbox submit ingest watch results retry cancel jobs "
        "deliveries batches scheduler status keys db doctor"
    )
    assert root.list_commands(root.make_context("x", ["status"], resilient_parsing=True)) == named.split()


def test_our_error_is_found_in_a_group_of_groups():
    ours = StorageUnusable("old")
    assert only_cause(ExceptionGroup("a", [ValueError(), ExceptionGroup("b", [ours])])) is ours


def test_the_banner_is_stable_and_shows_no_password(capsys, tmp_path):
    announce(Ready(), profile_path=tmp_path / "p.toml", as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:3] == ["API:      http://127.0.0.1:8283", "Database: postgresql://me:***@host/db"]
    assert lines[3].startswith("Provider: sandbox (simulated")
    assert lines[4:6] == ["Role:     leader", "Key:      bb_first"]
    assert lines[-1] == "ready"


def test_the_first_key_is_saved_to_the_profile(tmp_path):
    announce(Ready(), profile_path=tmp_path / "p.toml", as_json=False)
    assert load(tmp_path / "p.toml") == Profile("http://127.0.0.1:8283", "bb_first")


def test_a_server_runs_on_where_the_key_cannot_be_saved(capsys, tmp_path):
    (tmp_path / "file").touch()
    announce(Ready(), profile_path=tmp_path / "file" / "p.toml", as_json=False)
    captured = capsys.readouterr()
    assert "Key:      bb_first\n          (admin; shown this once, not saved)" in captured.out
    assert captured.err.startswith("Warning: cannot save the key to ")


def test_a_later_start_prints_no_key_and_leaves_the_profile(capsys, tmp_path):
    announce(Ready(admin_key=None), profile_path=tmp_path / "p.toml", as_json=False)
    assert "Key:" not in capsys.readouterr().out
    assert load(tmp_path / "p.toml") is None


def test_the_banner_comes_as_json_lines_where_logs_do(capsys, tmp_path):
    announce(Ready(), profile_path=tmp_path / "p.toml", as_json=True)
    first, ready = map(json.loads, capsys.readouterr().out.splitlines())
    assert first == {"event": "first_start", "admin_key": "bb_first", "profile": str(tmp_path / "p.toml")}
    assert (ready["event"], ready["database"], ready["role"]) == ("ready", "postgresql://me:***@host/db", "leader")
