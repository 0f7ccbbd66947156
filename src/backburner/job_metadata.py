"""A job's metadata: how large it may be, how it is changed, and by what of it jobs can be found."""

from __future__ import annotations

from typing import Any

import msgspec

from backburner.errors import Invalid

MAX_METADATA_BYTES = 16 * 1024
LONGEST_SOUGHT = 255  # characters of a name or value by which jobs are found; an index cannot hold much more


def check_metadata(metadata: dict[str, Any]) -> None:
    """Raises Invalid for more than 16 KB."""
    if len(msgspec.json.encode(metadata)) > MAX_METADATA_BYTES:
        raise Invalid(
            f"The metadata is larger than {MAX_METADATA_BYTES} bytes.", code="metadata_too_large", param="metadata"
        )


def merged(metadata: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The metadata with its members replaced by those of `changes`; null deletes a member.

    Nested objects are replaced, not merged. Raises Invalid when the outcome is too large.
    """
    found = {name: value for name, value in {**metadata, **changes}.items() if changes.get(name, value) is not None}
    check_metadata(found)
    return found


def sought(metadata: dict[str, Any]) -> dict[str, str]:
    """The members by which a job can be found: text as it is, numbers and booleans as their JSON.

    Other values, and names and values of more than `LONGEST_SOUGHT` characters, are left out.
    """
    texts = {name: _text(value) for name, value in metadata.items() if isinstance(value, (str, int, float))}
    return {name: text for name, text in texts.items() if max(len(name), len(text)) <= LONGEST_SOUGHT}


def _text(value: str | float) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
