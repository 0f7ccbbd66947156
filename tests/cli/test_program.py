"""The program as a whole: help, how errors end it, the banner."""

from __future__ import annotations

import json
import subprocess
import sys

import attrs
import pytest

from backburner.__main__ import run
from backburner.cli.banner import announce, announce_key
from backburner.cli.exits import only_cause
from backburner.cli.root import root
from backburner.errors import StorageUnusable
from backburner.profiles import Profile, Profiles


@attrs.frozen
class Ready:
    url: str = "http://127.0.0.1:8283"
    database: str = "postgresql://me:canary@host/db"
    provider: str = "sandbox"
    role: str = "leader"


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
        "deliveries batches scheduler status keys profiles db doctor"
    )
    assert root.list_commands(root.make_context("x", ["status"], resilient_parsing=True)) == named.split()


def test_our_error_is_found_in_a_group_of_groups():
    ours = StorageUnusable("old")
    assert only_cause(ExceptionGroup("a", [ValueError(), ExceptionGroup("b", [ours])])) is ours


URL = "http://127.0.0.1:8283"


def test_the_banner_is_stable_and_shows_no_password(capsys):
    announce(Ready(), as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:3] == ["API:      http://127.0.0.1:8283", "Database: postgresql://me:***@host/db"]
    assert lines[3].startswith("Provider: sandbox (simulated")
    assert lines[4:] == ["Role:     leader", "ready"]


def test_the_first_key_is_shown_and_saved(capsys, tmp_path):
    profiles = Profiles(tmp_path)
    announce_key(URL, "bb_first", profiles=profiles, as_json=False)
    assert profiles.load() == Profile(URL, "bb_first")
    shown = "Key:      bb_first\n          (admin; shown this once, saved as the profile default)\n"
    assert tuple(capsys.readouterr()) == (shown, "")


def test_the_key_of_another_server_gets_a_profile_of_its_own(capsys, tmp_path):
    profiles = Profiles(tmp_path)
    profiles.add(Profile("http://earlier", "bb_earlier"))
    announce_key(URL, "bb_first", profiles=profiles, as_json=False)
    assert profiles.used() == Profile("http://earlier", "bb_earlier")
    assert profiles.load("127.0.0.1-8283") == Profile(URL, "bb_first")
    assert "backburner profiles use 127.0.0.1-8283" in capsys.readouterr().err


def test_a_server_runs_on_where_the_key_cannot_be_saved(capsys, tmp_path):
    (tmp_path / "file").touch()
    announce_key(URL, "bb_first", profiles=Profiles(tmp_path / "file"), as_json=False)
    captured = capsys.readouterr()
    assert "Key:      bb_first\n          (admin; shown this once, not saved)" in captured.out
    assert captured.err.startswith("Warning: cannot save the key: File exists.")


def test_the_banner_comes_as_json_lines_where_logs_do(capsys, tmp_path):
    announce_key(URL, "bb_first", profiles=Profiles(tmp_path), as_json=True)
    announce(Ready(), as_json=True)
    first, ready = map(json.loads, capsys.readouterr().out.splitlines())
    assert first == {"event": "first_start", "admin_key": "bb_first", "profile": "default"}
    assert (ready["event"], ready["database"], ready["role"]) == ("ready", "postgresql://me:***@host/db", "leader")
