"""What errors of the database say."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from backburner.errors import NotFound, WriteRefused
from backburner.storage.database import translated
from backburner.storage.tables import jobs


def test_no_value_is_in_an_error_which_may_be_logged(tx: sa.Connection):
    with pytest.raises(sa.exc.DBAPIError) as raised:
        tx.execute(sa.text("SELECT * FROM jobs WHERE nonsense = :value"), {"value": "hunter2"})
    assert "nonsense" in str(raised.value)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("odd", [{"a": object()}, {"a": "\udce9"}])
def test_a_value_that_has_no_form_in_the_database_is_refused(odd, tx: sa.Connection):
    with pytest.raises(WriteRefused), translated():
        tx.execute(sa.update(jobs).values(metadata=odd))


def test_what_was_deleted_meanwhile_is_not_found(tx: sa.Connection):
    with pytest.raises(NotFound), translated():
        tx.execute(sa.select(jobs.c.id).where(jobs.c.id == -1)).one()
