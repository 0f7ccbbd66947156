"""Whose requests count together."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address


def counted_as(address: str | None) -> str | None:
    """The address, of IPv6 its /64 network; None for those that are exempt: loopback, where a proxy may stand."""
    try:
        found = ip_address((address or "").partition("%")[0])
    except ValueError:  # no network address: a test's, or a Unix socket's
        return None
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped is not None:
            return counted_as(str(found.ipv4_mapped))
        return None if found.is_loopback else found.exploded[:19]
    return None if found.is_loopback else str(found)
