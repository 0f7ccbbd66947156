"""What errors of the database say."""

from __future__ import annotations

import pytest
import sqlalchemy as sa


def test_no_value_is_in_an_error_which_may_be_logged(tx: sa.Connection):
    with pytest.raises(sa.exc.DBAPIError) as raised:
        tx.execute(sa.text("SELECT * FROM jobs WHERE nonsense = :value"), {"value": "hunter2"})
    assert "nonsense" in str(raised.value)
    assert "hunter2" not in str(raised.value)
