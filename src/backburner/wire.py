"""The custom ids that the provider sees: ours, so that an orphan's results can be recognised."""

from __future__ import annotations

import re


def wire_id(nonce: str, index: int) -> str:
    """The custom id of the item at `index` in the batch marked with `nonce`."""
    return f"{nonce}-{index}"


def wire_index(nonce: str, custom_id: str) -> int | None:
    """The item's index, or None for a custom id that is not of the batch marked with `nonce`."""
    mark, _, digits = custom_id.rpartition("-")
    if mark != nonce or not digits.isascii() or not digits.isdigit():
        return None
    return int(digits)


def wire_nonce(custom_id: str) -> str | None:
    """What marks the batch that a custom id is of; None for one that is not of our making."""
    mark, _, digits = custom_id.rpartition("-")
    return mark if mark and digits.isascii() and digits.isdigit() else None


def wire_mention(nonce: str, line: bytes) -> int | None:
    """The index in the first custom id of that batch in a line that cannot be decoded, if there is one."""
    found = re.search(rb'"%b-([0-9]{1,9})"' % nonce.encode(), line)
    return None if found is None else int(found[1])
