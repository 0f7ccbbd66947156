"""The commands that work without a server: `db`, `doctor`, and what stops `serve` before it starts."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from random import Random

import httpx2
import pytest
from tests.client.fakes import ok, page, refusal

from backburner.api_keys import hash_key
from backburner.clock import SystemClock
from backburner.ids import Ids
from backburner.storage import accounts
from backburner.storage.audit import AuditFilter, list_audit
from backburner.storage.database import open_database
from backburner.storage.file_lock import Holder, acquire
from backburner.storage.pages import Cut


@pytest.fixture
def database(tmp_path, terminal) -> str:
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    assert terminal.run("db", "upgrade", "--database", url).code == 0
    return url


def test_a_new_database_is_made_checked_and_copied(terminal, database, tmp_path):
    checked = terminal.run("db", "check", "--database", database)
    assert (checked.code, checked.out.split(maxsplit=2)[:2]) == (0, ["ok", "schema:"])
    assert terminal.run("db", "backup", "--database", database, str(tmp_path / "copy.db")).code == 0
    copied = terminal.run("db", "check", "--database", f"sqlite:///{tmp_path / 'copy.db'}", "--json")
    assert all(json.loads(line)["ok"] for line in copied.out.splitlines())


def test_upgrading_again_changes_nothing(terminal, database):
    assert terminal.run("db", "upgrade", "--database", database).out == "The schema is up to date.\n"


def test_the_database_may_come_from_the_environment(terminal, database):
    terminal.environ["BACKBURNER_DATABASE_URL"] = database
    assert terminal.run("db", "check").code == 0


def test_a_database_that_is_not_there_is_one_line_and_is_not_made(terminal, tmp_path):
    ran = terminal.run("db", "check", "--database", f"sqlite:///{tmp_path / 'none.db'}")
    assert (ran.code, ran.err) == (1, f"Error: {tmp_path / 'none.db'} does not exist.\n")
    assert not (tmp_path / "none.db").exists()


def test_what_is_no_database_is_one_line(terminal, tmp_path):
    (tmp_path / "text.db").write_text("This is no database." * 100)
    ran = terminal.run("db", "check", "--database", f"sqlite:///{tmp_path / 'text.db'}")
    assert ran.code == 1
    assert ran.err.startswith("Error: ")
    assert ran.err.count("\n") == 1


def test_a_violated_rule_fails_the_check(terminal, database):
    with sqlite3.connect(database.removeprefix("sqlite:///")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    ran = terminal.run("db", "check", "--database", database)
    assert (ran.code, ran.out.split()[0]) == (1, "WRONG")


def test_doctor_finds_everything_well(terminal, database):
    terminal.knows("http://server:1", "bb_key")
    ran = terminal.run("doctor", "--database", database, answers=[ok({}), page()])
    assert ran.code == 0
    assert "ok     server:    http://server:1 is ready and knows the key" in ran.out.splitlines()


def test_doctor_says_what_is_wrong_and_goes_on(terminal, tmp_path):
    terminal.environ["BACKBURNER_PORT"] = "x"
    terminal.knows("http://server:1", "bb_key")
    terminal.profile.chmod(0o644)
    ran = terminal.run("doctor", "--json", answers=[ok({}), refusal(401, message="No such key.")])
    wrong = [json.loads(line)["what"] for line in ran.out.splitlines() if json.loads(line)["ok"] is False]
    assert (ran.code, wrong) == (1, ["settings", "profile", "server"])


@pytest.mark.parametrize("command", ["doctor", "serve", "db check", "db upgrade"])
def test_a_database_of_before_the_first_release_gets_one_line_and_stays(terminal, database, tmp_path, command):
    path = tmp_path / "jobs.db"
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0007'")
    connection.close()
    before = path.read_bytes()
    terminal.environ["BACKBURNER_PORT"] = "0"  # whatever else runs on this machine
    ran = terminal.run(*command.split(), "--database", database, answers=[httpx2.ConnectError("refused")])
    told = [line for line in (ran.out + ran.err).splitlines() if "before the first release (schema 0007)" in line]
    assert ran.code == 1
    assert len(told) == 1
    assert "give this one another database_url" in told[0]
    assert "Traceback" not in ran.out + ran.err
    assert path.read_bytes() == before


def test_doctor_is_content_before_the_first_start(terminal, tmp_path):
    url = f"sqlite:///{tmp_path / 'none.db'}"
    ran = terminal.run("doctor", "--database", url, answers=[httpx2.ConnectError("refused")])
    assert ran.code == 0
    assert "`backburner serve` makes it" in ran.out


@pytest.mark.parametrize(
    ("variable", "value", "named"),
    [
        ("BACKBURNER_PORT", "x", "Setting port: 'x' (from BACKBURNER_PORT) is not allowed."),
        ("BACKBURNER_CONFIG", "/no/such/file", "Cannot read the settings file /no/such/file"),
        ("BACKBURNER_SANDBOX_FAULTS", "moon:429", "Setting sandbox_faults: unknown endpoint 'moon'"),
        ("BACKBURNER_LOG_FILE", "/no/such/folder/log", "Setting log_file: cannot write '/no/such/folder/log'"),
    ],
)
def test_a_wrong_setting_stops_serve_with_one_line(terminal, variable, value, named):
    terminal.environ[variable] = value
    ran = terminal.run("serve")
    assert ran.code == 2
    assert ran.err.startswith(f"Error: {named}")
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize(("option", "value"), [("--port", "70000"), ("--database", "foo://x")])
def test_an_option_of_serve_is_named_as_it_was_given(terminal, option, value):
    assert f"(from {option})" in terminal.run("serve", option, value).err


def test_a_backup_is_restored_and_what_was_there_is_kept(terminal, database, tmp_path):
    copy = tmp_path / "copy.db"
    assert terminal.run("db", "backup", "--database", database, str(copy)).code == 0
    assert copy.stat().st_mode & 0o077 == 0
    ran = terminal.run("db", "restore", "--database", database, str(copy))
    assert ran.code == 0
    assert f"replaced {tmp_path / 'jobs.db'} (0 jobs)" in ran.out
    assert len(list(tmp_path.glob("jobs.db.replaced-*Z"))) == 1
    assert list(tmp_path.glob("*.restoring*")) == []
    assert terminal.run("db", "check", "--database", database).code == 0


def test_a_damaged_database_is_set_aside_and_restored(terminal, database, tmp_path):
    copy, file = tmp_path / "copy.db", tmp_path / "jobs.db"
    terminal.run("db", "backup", "--database", database, str(copy))
    file.write_bytes(b"This was a database." * 1000)
    ran = terminal.run("db", "restore", "--database", database, str(copy))
    assert ran.code == 0
    assert "is not a sound database" in ran.out
    assert terminal.run("db", "check", "--database", database).code == 0


def test_a_restore_is_refused_while_a_server_has_the_file(terminal, database, tmp_path):
    copy, file = tmp_path / "copy.db", tmp_path / "jobs.db"
    terminal.run("db", "backup", "--database", database, str(copy))
    holder = Holder(pid=4711, instance_id="a server", since=datetime(2026, 1, 1, tzinfo=UTC))
    with acquire(file, holder):
        for command in (["restore", "--database", database, str(copy)], ["restored", "--database", database]):
            ran = terminal.run("db", *command)
            assert ran.code == 1
            assert "process 4711 (instance a server" in ran.err


def test_what_is_no_backup_replaces_nothing(terminal, database, tmp_path):
    before = (tmp_path / "jobs.db").read_bytes()
    for content in (b"no database", b""):
        wrong = tmp_path / "wrong.db"
        wrong.write_bytes(content)
        ran = terminal.run("db", "restore", "--database", database, str(wrong))
        assert (ran.code, ran.err.count("\n")) == (1, 1)
    assert (tmp_path / "jobs.db").read_bytes() == before


def test_doctor_names_the_command_for_what_is_stuck(terminal, database):
    url = database.removeprefix("sqlite:///")
    with sqlite3.connect(url) as connection:
        connection.execute("INSERT INTO server_facts VALUES ('polling', 'false', '2026-01-01 00:00:00.000000')")
    connection.close()
    ran = terminal.run("doctor", "--json", "--database", database, answers=[httpx2.ConnectError("refused")])
    (found,) = [json.loads(line) for line in ran.out.splitlines() if '"polling_paused"' in line]
    assert (ran.code, found["ok"], found["commands"]) == (1, False, ["backburner scheduler resume"])
    told = terminal.run("doctor", "--database", database, answers=[httpx2.ConnectError("refused")])
    assert "                  backburner scheduler resume" in told.out.splitlines()


@pytest.mark.parametrize(
    "url", ["postgresql://me:hun/ter2@127.0.0.1:9/x", "postgresql://127.0.0.1:9/x?password=hunter2"]
)
def test_no_command_shows_a_databases_password(terminal, url):
    for command in (("doctor",), ("doctor", "--json"), ("db", "check"), ("db", "upgrade", "--json"), ("serve",)):
        ran = terminal.run(*command, "--database", url, answers=[ok({})])
        assert ran.code == 1
        assert "ter2" not in ran.out + ran.err


@pytest.mark.parametrize(
    ("url", "named"),
    [("postgresql://h/x?schema=public", "schema"), ("postgresql://h:port/x", "port"), ("mysql://h/x", "postgresql://")],
)
def test_a_wrong_database_url_is_one_line_and_exit_status_2(terminal, url, named):
    ran = terminal.run("db", "check", "--database", url)
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert named in ran.err


def started(url: str) -> str:
    """A database as after the first start of a server; its key."""
    ids = Ids(SystemClock(), Random(1))
    database = open_database(url, random=Random(1), in_threads=False)
    with closing(database), database.writing.begin() as tx:
        known = {"key_hash": hash_key("bb_first"), "prefix": "bb_first"}
        assert accounts.bootstrap(tx, **known, webhook_secret="whsec_x", now=ids.clock.now(), ids=ids)
    return "bb_first"


def test_a_lost_key_is_replaced_on_the_machine_itself_and_the_audit_log_tells(terminal, database):
    first = started(database)
    terminal.environ["BACKBURNER_PROFILE"] = "gone"  # with the key
    ran = terminal.run("keys", "create", "--local", "--database", database, "--name", "found again", "--json")
    made = json.loads(ran.out)
    assert (ran.code, made["scopes"], made["name"]) == (0, ["admin"], "found again")
    opened = open_database(database, random=Random(1), in_threads=False)
    with closing(opened), opened.reading.connect() as tx:
        found = [accounts.principal_of(tx, hash_key(key), now=SystemClock().now()) for key in (first, made["secret"])]
        assert [principal.scopes for principal in found if principal] == [frozenset({"admin"})] * 2
        (row,), _ = list_audit(tx, within=None, chosen=AuditFilter(), cut=Cut(limit=10))
        assert (row.action, row.object_id, row.key_id) == ("key.create", made["id"], "local")


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--local"], 1, "The database has no user yet"),
        (["--local", "--database", "sqlite:////no/such/jobs.db"], 1, "/no/such/jobs.db does not exist."),
        (["--database", "sqlite:///x.db"], 2, "--database and --config go with --local."),
        (["--local", "--scope", "read"], 2, "--scope cannot go with --local"),
        (["--local", "--user", "user-1", "--key", "bb_x"], 2, "--key and --user cannot go with --local"),
    ],
)
def test_a_key_that_cannot_be_made_locally_is_said_in_one_line(terminal, database, options, code, said):
    terminal.environ["BACKBURNER_DATABASE_URL"] = database
    ran = terminal.run("keys", "create", *options)
    assert ran.code == code
    assert said in ran.err


def test_a_key_is_not_written_beside_a_server_at_work(terminal, database, tmp_path):
    started(database)
    with acquire(
        tmp_path / "jobs.db", Holder(pid=4711, instance_id="a server", since=datetime(2026, 1, 1, tzinfo=UTC))
    ):
        ran = terminal.run("keys", "create", "--local", "--database", database)
    assert (ran.code, "process 4711" in ran.err) == (1, True)


def test_a_direct_way_beside_a_sqlite_file_is_refused(terminal, tmp_path):
    terminal.environ["BACKBURNER_DATABASE_DIRECT_URL"] = "postgresql://h/x"
    ran = terminal.run("serve", "--database", f"sqlite:///{tmp_path / 'jobs.db'}", "--port", "0")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "database_direct_url" in ran.err
