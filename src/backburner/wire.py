"""The custom ids that the provider sees: ours, so that an orphan's results can be recognised."""

from __future__ import annotations


def wire_id(nonce: str, index: int) -> str:
    """The custom id of the item at `index` in the batch marked with `nonce`."""
    return f"{nonce}-{index}"


def wire_index(nonce: str, custom_id: str) -> int | None:
    """The item's index, or None for a custom id that is not of the batch marked with `nonce`."""
    mark, _, digits = custom_id.rpartition("-")
    if mark != nonce or not digits.isascii() or not digits.isdigit():
        return None
    return int(digits)
