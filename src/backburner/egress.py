"""Where a callback may go: which URLs are accepted and which addresses are never connected to."""

from __future__ import annotations

import re
import unicodedata
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network

import attrs
import idna

from backburner.errors import Invalid

Address = IPv4Address | IPv6Address

MAX_URL_BYTES = 2048
DEFAULT_PORTS = {"http": 80, "https": 443}
#: Where web servers listen. Other ports would make this server a port scanner, so an operator has to name them.
WEB_PORTS = frozenset({80, 443, 8080, 8443})

# `ipaddress.is_global` is not a filter: it lets multicast, 6to4, NAT64 and cloud metadata through.
FORBIDDEN_V4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's host agent
        "169.254.0.0/16",  # link-local, cloud metadata
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarking
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
#: The only part of IPv6 that is handed out for public use …
PUBLIC_V6 = IPv6Network("2000::/3")
#: … and what is special inside it.
FORBIDDEN_V6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments: Teredo, ORCHID, benchmarking
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: an IPv4 address in disguise
        "3fff::/20",  # documentation
    )
)

_URL = re.compile(r"(?P<scheme>[A-Za-z]+)://(?P<authority>[^/?#]*)(?P<target>[^#]*)")
_AUTHORITY = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[^:\[\]@]+))(?::(?P<port>[1-9][0-9]{0,4}))?")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


@attrs.frozen(kw_only=True)
class CallbackUrl:
    """A callback URL taken apart. Put together again it has exactly one reading."""

    scheme: str  #: `http` or `https`
    host: str  #: lower-case ASCII; IPv6 without brackets
    port: int
    target: str  #: path and query, begins with `/`
    address: Address | None  #: when the host is an address and not a name

    @property
    def authority(self) -> str:
        """The host as it is written in URLs."""
        return f"[{self.host}]" if isinstance(self.address, IPv6Address) else self.host

    @property
    def receiver(self) -> str:
        """`host:port`: what slow answers are held against."""
        return f"{self.authority}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.receiver}{self.target}"


def receiver_of(url: str) -> str:
    """The receiver of a URL that was accepted: `host:port`. Raises Invalid for one that could not have been."""
    return parse_callback_url(url).receiver


def check_callback_url(url: str, *, allow_private: bool, ports: frozenset[int] | None = WEB_PORTS) -> CallbackUrl:
    """Raises Invalid: `callback_url_invalid` for no http(s) URL, `callback_url_forbidden` for what is not called.

    `ports` are those that may be called; None: any, which `allow_private` means too. A name is not resolved here: its
    addresses are checked each time before they are connected to.
    """
    parsed = parse_callback_url(url)
    if allow_private:
        return parsed
    if not _is_public(parsed):
        # It does not say what exactly is wrong: that would help to look around inside.
        raise _refused("Callbacks to this address are not allowed.", code="callback_url_forbidden")
    if ports is not None and parsed.port not in ports:
        allowed = ", ".join(map(str, sorted(ports)))
        raise _refused(
            f"Port {parsed.port} is not called; the server's setting callback_ports allows {allowed}.",
            code="callback_url_forbidden",
        )
    return parsed


def parse_callback_url(url: str) -> CallbackUrl:
    """Take a URL apart, strictly. Raises Invalid with the code `callback_url_invalid`."""
    _check_characters(url)
    match = _URL.fullmatch(url)
    if match is None:
        raise _refused("Give an absolute http or https URL without a fragment.")
    scheme = match["scheme"].lower()
    if scheme not in DEFAULT_PORTS:
        raise _refused("Only http and https URLs can be called.")
    target = match["target"]
    if not target.isascii():
        raise _refused("Characters outside ASCII must be percent-encoded in path and query.")
    host, port, address = _parse_authority(match["authority"], DEFAULT_PORTS[scheme])
    target = target if target.startswith("/") else f"/{target}"
    return CallbackUrl(scheme=scheme, host=host, port=port, target=target, address=address)


def is_forbidden(address: Address) -> bool:
    """Whether an address is private, local, special or otherwise not a public web server's."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if isinstance(address, IPv4Address):
        return any(address in network for network in FORBIDDEN_V4)
    return address not in PUBLIC_V6 or any(address in network for network in FORBIDDEN_V6)


def _is_public(url: CallbackUrl) -> bool:
    if url.address is not None:
        return not is_forbidden(url.address)
    return url.host.rpartition(".")[2] != "localhost"


def _check_characters(url: str) -> None:
    # A lone surrogate counts with three bytes here and is refused with the other unprintable characters below.
    if len(url.encode("utf-8", "surrogatepass")) > MAX_URL_BYTES:
        raise _refused(f"The URL is longer than {MAX_URL_BYTES} bytes.")
    if "\\" in url or " " in url or not url.isprintable():
        raise _refused("Spaces, backslashes and control characters cannot be part of the URL.")


def _parse_authority(authority: str, default_port: int) -> tuple[str, int, Address | None]:
    if "@" in authority:
        raise _refused("A user name or password cannot be part of the URL.")
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        raise _refused("The URL's host or port is malformed.")
    port = int(match["port"] or default_port)
    if port > 65535:
        raise _refused("The URL's port is above 65535.")
    host, address = _parse_v6(match["v6"]) if match["v6"] else _parse_name(match["name"])
    return host, port, address


def _parse_v6(text: str) -> tuple[str, Address]:
    try:
        address = IPv6Address(text)
    except AddressValueError:
        raise _refused("The URL's host is not an IPv6 address.") from None
    return str(address), address


def _parse_name(name: str) -> tuple[str, Address | None]:
    host = _to_ascii(name)
    if _NUMBER.fullmatch(host.rpartition(".")[2]):
        return _parse_v4(name)
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in host.split(".")):
        raise _refused("The URL's host is not a host name.")
    return host, None


def _parse_v4(name: str) -> tuple[str, Address]:
    # System resolvers read `2130706433`, `0x7f.1` and `0177.0.0.1` as 127.0.0.1. We read dotted quads only.
    try:
        address = IPv4Address(name)
    except AddressValueError:
        raise _refused("A numeric host must be four decimal numbers with dots, or IPv6 in brackets.") from None
    return str(address), address


def _to_ascii(name: str) -> str:
    lowered = unicodedata.normalize("NFC", name.lower())
    if lowered.isascii():
        return lowered
    try:
        return idna.encode(lowered).decode("ascii")
    except idna.IDNAError:
        raise _refused("The URL's host is not a valid internationalized name.") from None


def _refused(message: str, *, code: str = "callback_url_invalid") -> Invalid:
    return Invalid(message, code=code, param="callback_url")
