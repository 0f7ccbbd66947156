"""Database URLs: which are accepted, what they mean, and that no secret of theirs is shown."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from tests.storage.both import NOW

from backburner.errors import Invalid
from backburner.storage import maintenance
from backburner.storage.postgresql import conninfo
from backburner.storage.urls import libpq_parameters, parse_url, shown, sqlite_file


@pytest.mark.parametrize(
    ("url", "means"),
    [
        ("postgresql://u@h/db", {"user": "u", "host": "h", "dbname": "db"}),
        ("postgres://u@h/db", {"user": "u", "host": "h", "dbname": "db"}),
        ("postgresql+psycopg://u@h:7/db", {"user": "u", "host": "h", "port": 7, "dbname": "db"}),
        ("postgresql://u:a/b%40c@h/db", {"user": "u", "password": "a/b@c", "host": "h", "dbname": "db"}),
        ("postgresql://[::1]:7/db", {"host": "::1", "port": 7, "dbname": "db"}),
        (
            "postgresql://u:p@h1:5,h2:6/db",
            {"user": "u", "password": "p", "host": "h1,h2", "port": "5,6", "dbname": "db"},
        ),
        ("postgresql://[::1]:5,h2/db", {"host": "::1,h2", "port": "5,", "dbname": "db"}),
        ("postgresql:///db?host=/tmp", {"host": "/tmp", "dbname": "db"}),
        ("postgresql://h/db?options=-csearch_path%3Dx", {"host": "h", "dbname": "db", "options": "-csearch_path=x"}),
    ],
)
def test_a_postgresql_url_is_read_as_libpq_reads_it(url, means):
    assert libpq_parameters(parse_url(url)) == means
    assert "host" in conninfo(parse_url(url))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://h/db", "is no URL of a database"),
        ("postgresql:/h/db", "is no URL of a database"),
        ("sqlite:/file", "is no URL of a database"),
        ("postgresql://h:port/db", "host or port"),
        ("postgresql://h1:5,h2:port/db", "host or port"),
        ("postgresql://h1,h2/db?port=5,6,7", "do not go together"),
        ("postgresql://u:hunter2@h/db?schema=public", "does not know .*schema.*csearch_path"),
        ("postgresql://u:hunter2@h/db?pool=3", "does not know .*pool"),
    ],
)
def test_what_is_no_database_url_is_refused_without_its_password(url, said):
    with pytest.raises(Invalid, match=said) as refusal:
        parse_url(url)
    assert refusal.value.param == "database_url"
    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("postgresql://me:hunter2@host/db", "postgresql://me:***@host/db"),
        ("postgres://me:hun/ter2@host/db", "postgresql://me:***@host/db"),
        ("postgresql://host/db?password=hunter2", "postgresql://host/db?password=***"),
        ("postgresql://host/db?sslpassword=hunter2&user=me", "postgresql://host/db?sslpassword=***&user=me"),
        ("postgresql://me:hunter2@h1:5,h2/db", "postgresql://me:***@/db?host=h1%2Ch2&port=5%2C"),
        ("hunter2", "***"),
        ("sqlite:///a?b%20c.db", "sqlite:///a?b%20c.db"),
    ],
)
def test_no_secret_of_a_url_is_shown(url, text):
    assert shown(url) == text


def test_a_sqlite_path_is_literal(tmp_path):
    name = "what?mode=memory&50%20.db"
    maintenance.upgrade(f"sqlite:///{tmp_path}/{name}", now=NOW)

    with closing(sqlite3.connect(tmp_path / name)) as found:
        assert found.execute("SELECT count(*) FROM jobs").fetchone() == (0,)
    assert sorted(file.name for file in tmp_path.iterdir()) == [name, f"{name}.lock"]


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("sqlite:///a.db", "a.db"),
        ("sqlite:////tmp/a?.db", "/tmp/a?.db"),
        ("sqlite:///:memory:", None),
        ("sqlite://", None),
        ("postgresql://h/db", None),
    ],
)
def test_which_file_a_url_names(url, file):
    assert sqlite_file(url) == (None if file is None else Path(file))
