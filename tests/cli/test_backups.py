"""What `db backup` and `db restore` must never destroy, and who may read the files that the program makes."""

from __future__ import annotations

import json
import os
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import pytest

from backburner.errors import StorageUnusable
from backburner.providers.sandbox.store import SqliteStore
from backburner.storage import backups, maintenance
from backburner.storage.file_lock import Holder, acquire

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def file(tmp_path, terminal) -> Path:
    path = tmp_path / "jobs.db"
    assert terminal.run("db", "upgrade", "--database", f"sqlite:///{path}").code == 0
    return path


@pytest.fixture
def live(file):
    """A connection of a server at work, with a WAL."""
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("CREATE TABLE mine (x)")
    connection.execute("INSERT INTO mine VALUES (1)")
    yield connection
    connection.close()


def backup(terminal, file, target, *options):
    return terminal.run("db", "backup", "--database", f"sqlite:///{file}", str(target), *options)


def hard_link(file: Path) -> Path:
    os.link(file, link := file.with_name("hard.db"))
    return link


def soft_link(file: Path) -> Path:
    (link := file.with_name("soft.db")).symlink_to(file.name)
    return link


def folder_link(file: Path) -> Path:
    (link := file.parent / "folder").symlink_to(file.parent)
    return link / file.name


@pytest.mark.parametrize(
    "name",
    [
        lambda file: file,
        lambda file: file.parent / "." / ".." / file.parent.name / file.name,
        hard_link,
        soft_link,
        folder_link,
        *(lambda file, end=end: file.with_name(file.name + end) for end in ("-wal", "-shm", "-journal", ".lock")),
    ],
)
@pytest.mark.parametrize("force", [(), ("--force",)])
def test_a_live_database_is_no_target_of_its_own_backup_under_any_name(terminal, file, live, name, force):
    target = name(file)
    ran = backup(terminal, file, target, *force)
    assert (ran.code, ran.err) == (2, f"Error: {target} belongs to the database {file} itself; name another file.\n")
    live.execute("INSERT INTO mine VALUES (2)")
    with sqlite3.connect(file) as other:
        assert other.execute("SELECT count(*) FROM mine").fetchone() == (2,)
    other.close()


@pytest.mark.parametrize("name", [lambda file: file, soft_link])
def test_who_names_the_database_of_a_server_at_work_hears_that_it_is_the_database(terminal, file, name):
    with acquire(file, Holder(pid=4711, instance_id="a server", since=NOW)):
        ran = backup(terminal, file, name(file), "--force")
    assert (ran.code, "belongs to the database" in ran.err) == (2, True)


def test_a_backup_is_one_file_also_after_it_was_read(terminal, file, live, tmp_path):
    (folder := tmp_path / "backups").mkdir()
    assert backup(terminal, file, folder / "copy.db").code == 0
    live.close()
    assert terminal.run("db", "restore", "--database", f"sqlite:///{file}", str(folder / "copy.db")).code == 0
    assert [path.name for path in folder.iterdir()] == ["copy.db"]


def test_a_database_reached_through_a_link_is_not_its_own_target(terminal, file, live):
    link = soft_link(file)
    assert backup(terminal, link, file, "--force").code == 2
    assert backup(terminal, link, f"{file}-wal", "--force").code == 2


def test_what_exists_is_replaced_on_demand_only(terminal, file, tmp_path):
    target = tmp_path / "copy.db"
    target.write_text("precious")
    assert backup(terminal, file, target).code == 2
    assert target.read_text() == "precious"
    assert backup(terminal, file, target, "--force").code == 0
    assert backups.contents(target).jobs == 0


def test_a_link_is_kept_and_its_file_replaced(terminal, file, tmp_path):
    (tmp_path / "old.db").write_text("old")
    (tmp_path / "latest.db").symlink_to("old.db")
    assert backup(terminal, file, tmp_path / "latest.db", "--force").code == 0
    assert (tmp_path / "latest.db").is_symlink()
    assert backups.contents(tmp_path / "old.db").jobs == 0


def test_only_a_regular_file_is_replaced(terminal, file, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for target in (tmp_path, tmp_path / "pipe", Path("/dev/null")):
        ran = backup(terminal, file, target, "--force")
        assert (ran.code, "is no regular file" in ran.err) == (2, True)


def test_the_database_of_another_server_is_not_replaced(terminal, file, tmp_path):
    other = tmp_path / "other.db"
    assert terminal.run("db", "upgrade", "--database", f"sqlite:///{other}").code == 0
    before = other.read_bytes()
    with acquire(other, Holder(pid=4711, instance_id="a server", since=NOW)):
        ran = backup(terminal, file, other, "--force")
    assert (ran.code, "process 4711" in ran.err, other.read_bytes() == before) == (1, True, True)


def test_what_another_program_has_in_use_is_not_replaced(terminal, file, tmp_path):
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE theirs (x)")
        ran = backup(terminal, file, other, "--force")
    connection.close()
    assert (ran.code, "is a database in use" in ran.err) == (2, True)


def test_nothing_beside_the_target_is_touched(terminal, tmp_path):
    # As the database is called whatever the user likes, so are the copies on their way.
    file = tmp_path / "copy.db.partial"
    assert terminal.run("db", "upgrade", "--database", f"sqlite:///{file}").code == 0
    assert backup(terminal, file, tmp_path / "copy.db").code == 0
    assert backups.contents(file).jobs == 0
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(file.name)] == ["copy.db"]


def damage(file: Path) -> None:
    with file.open("r+b") as content:
        content.seek(4096 * 3)
        content.write(b"\xff" * 4096 * 4)


def test_damage_is_noticed_and_the_last_good_backup_stays(terminal, file, tmp_path):
    assert backup(terminal, file, tmp_path / "copy.db").code == 0
    good = (tmp_path / "copy.db").read_bytes()
    damage(file)
    ran = backup(terminal, file, tmp_path / "copy.db", "--force")
    assert (ran.code, ran.err.count("\n"), "damaged" in ran.err) == (1, 1, True)
    assert (tmp_path / "copy.db").read_bytes() == good
    assert list(tmp_path.glob("*.partial*")) == []


def test_doctor_notices_damage_as_serve_does(terminal, file):
    damage(file)
    ran = terminal.run("doctor", "--json", "--database", f"sqlite:///{file}", answers=[httpx2.ConnectError("no")])
    wrong = [found for found in map(json.loads, ran.out.splitlines()) if found["ok"] is False]
    assert (ran.code, [found["what"] for found in wrong]) == (1, ["database"])
    assert "damaged" in wrong[0]["detail"]


def test_a_database_is_not_restored_from_itself(terminal, file):
    ran = terminal.run("db", "restore", "--database", f"sqlite:///{file}", str(hard_link(file)))
    assert (ran.code, "belongs to the database" in ran.err) == (2, True)


def test_a_disk_that_fills_up_does_not_move_the_database_away(monkeypatch, terminal, file, tmp_path):
    assert backup(terminal, file, tmp_path / "copy.db").code == 0
    make = backups.back_up

    def full(source: Path, destination: Path, **options: bool) -> None:
        if source == file:
            raise sqlite3.OperationalError("database or disk is full")
        make(source, destination, **options)

    monkeypatch.setattr(backups, "back_up", full)
    with pytest.raises(StorageUnusable, match="full"):
        maintenance.restore(f"sqlite:///{file}", tmp_path / "copy.db", now=NOW)
    assert backups.contents(file).jobs == 0


def test_two_restores_within_a_second_keep_both(terminal, file, tmp_path):
    assert backup(terminal, file, tmp_path / "copy.db").code == 0
    for _ in range(2):
        maintenance.restore(f"sqlite:///{file}", tmp_path / "copy.db", now=NOW)
    assert len(list(tmp_path.glob("jobs.db.replaced-*"))) == 2


@pytest.mark.parametrize("end", ["", "-wal", ".lock", ".sandbox"])
def test_events_are_not_written_into_a_database(terminal, file, end):
    ran = terminal.run("serve", "--database", f"sqlite:///{file}", "--log-file", f"{file}{end}")
    assert (ran.code, ran.err) == (
        2,
        f"Error: Setting log_file: {file}{end} belongs to the database; name another file.\n",
    )


# --- who may read -------------------------------------------------------------------------------------------


def modes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir() if path.is_file()}


def test_every_file_of_a_database_is_its_owners_from_the_beginning(file, live, tmp_path):
    store = SqliteStore(tmp_path / "jobs.db.sandbox")
    found = modes(tmp_path)
    store.close()
    assert {"jobs.db", "jobs.db-wal", "jobs.db-shm", "jobs.db.lock", "jobs.db.sandbox", "jobs.db.sandbox-wal"} <= set(
        found
    )
    assert set(found.values()) == {0o600}


def test_a_damaged_database_is_restored_for_its_owner_only(terminal, file, tmp_path):
    assert backup(terminal, file, tmp_path / "copy.db").code == 0
    file.write_text("no database" * 100)
    file.chmod(0o644)
    assert terminal.run("db", "restore", "--database", f"sqlite:///{file}", str(tmp_path / "copy.db")).code == 0
    assert modes(tmp_path)["jobs.db"] == 0o600


def test_doctor_names_what_others_may_open(terminal, file, tmp_path):
    log_file = tmp_path / "its log"
    log_file.touch(0o640)
    file.chmod(0o644)
    terminal.environ["BACKBURNER_LOG_FILE"] = str(log_file)
    ran = terminal.run("doctor", "--json", "--database", f"sqlite:///{file}", answers=[httpx2.ConnectError("no")])
    told = [found["commands"] for found in map(json.loads, ran.out.splitlines()) if found["what"] == "modes"]
    assert (ran.code, told) == (1, [[f"chmod 600 {file}"], [f"chmod 600 '{log_file}'"]])
