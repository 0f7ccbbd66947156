"""Which callback URLs and addresses are accepted."""

from __future__ import annotations

import re
from ipaddress import ip_address

import pytest

from backburner.egress import CallbackUrl, check_callback_url, is_forbidden, parse_callback_url, receiver_of
from backburner.errors import Invalid

DANGEROUS = """
0.0.0.0 0.255.255.255 10.0.0.0 10.255.255.255 100.64.0.0 100.127.255.255 127.0.0.1 127.255.255.255 168.63.129.16
169.254.0.1 169.254.169.254 172.16.0.0 172.31.255.255 192.0.0.1 192.0.0.192 192.0.2.1 192.31.196.1 192.52.193.1
192.88.99.1 192.168.0.0 192.168.255.255 192.175.48.1 198.18.0.0 198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1
239.255.255.255 240.0.0.1 255.255.255.255
:: ::1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:169.254.169.254 ::ffff:10.0.0.1 ::ffff:0:127.0.0.1
64:ff9b::a9fe:a9fe 64:ff9b::808:808 64:ff9b:1::1 100::1 2001::1 2001:0:53aa:64c::1 2001:10::1 2001:20::1 2001:2::1
2001:db8::1 2002:7f00:1:: 2002:a00:1::1 3fff::1 3fff:fff:ffff::1 4000::1 5f00::1 fc00::1 fd00:ec2::254 fdff::1
fe80::1 fe80::1%eth0 febf::1 fec0::1 ff02::1 ff0e::1
"""

PUBLIC = """
1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.254 100.128.0.1 126.255.255.255 128.0.0.1 168.63.129.15
169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 192.0.1.1 192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0
223.255.255.255 ::ffff:8.8.8.8 2001:200::1 2001:4860:4860::8888 2606:4700:4700::1111 2003::1 2a00:1450::1 3ffe::1
"""

SPELLINGS_OF_LOOPBACK = [
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0x7F.0.0.1",
    "0177.0.0.1",
    "017700000001",
    "127.0.0.01",
    "127.0.0.1.",
    "127.0.0.0x1",
    "0",
    "0x",
    "example.1",
    "①②⑦.⓪.⓪.①",
    "127。0。0。1",
    "\uff11\uff12\uff17.\uff10.\uff10.\uff11",
    "\u0660.\u0660.\u0660.\u0660",
]


@pytest.mark.parametrize("address", DANGEROUS.split())
def test_no_special_address_is_reached(address):
    assert is_forbidden(ip_address(address)) is True


@pytest.mark.parametrize("address", PUBLIC.split())
def test_public_addresses_and_the_neighbours_of_special_ones_are_reached(address):
    assert is_forbidden(ip_address(address)) is False


@pytest.mark.parametrize("address", [text for text in DANGEROUS.split() if "%" not in text])
def test_a_special_address_in_the_url_is_refused_at_registration(address):
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(Invalid) as refusal:
        check_callback_url(f"https://{host}/hook", allow_private=False)
    assert (refusal.value.code, refusal.value.param) == ("callback_url_forbidden", "callback_url")
    assert address not in str(refusal.value)


@pytest.mark.parametrize("host", SPELLINGS_OF_LOOPBACK)
@pytest.mark.parametrize("allow_private", [False, True])
def test_numeric_hosts_are_dotted_quads_or_nothing(host, allow_private):
    with pytest.raises(Invalid) as refusal:
        check_callback_url(f"http://{host}/", allow_private=allow_private)
    assert refusal.value.code == "callback_url_invalid"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/hook",
        "example.com/hook",
        "//example.com/hook",
        "http:/example.com",
        "http:example.com",
        "http://",
        "http:///hook",
        "http://?q",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "javascript://example.com/%0aalert(1)",
        "http+unix://example.com/",
        "https://user@example.com/",
        "https://user:secret@example.com/",
        "https://@example.com/",
        "https://example.com@127.0.0.1/",
        "https://example.com/#fragment",
        "https://example.com/#",
        "https://example.com\\@127.0.0.1/",
        "https://example.com/a b",
        " https://example.com/",
        "https://example.com/\n",
        "https://example.com/\r\nHost: evil",
        "https://example.com/\x00",
        "https://example.com/\x7f",
        "https://example.com/\u2028",
        "https://exam\u200bple.com/",
        "https://example.com/\ud800",
        "https://example.com/ü",
        "https://example.com:/",
        "https://example.com:0/",
        "https://example.com:080/",
        "https://example.com:65536/",
        "https://example.com:100000/",
        "https://example.com:-1/",
        "https://example.com:443:443/",
        "https://example.com:\u0664\u0664\u0663/",
        "https://[::1/",
        "https://::1/",
        "https://[::1]x/",
        "https://[fe80::1%25eth0]/",
        "https://[127.0.0.1]/",
        "https://[example.com]/",
        "https://[v1.x]/",
        "https://.example.com/",
        "https://example..com/",
        "https://example.com./",
        "https://-example.com/",
        "https://example%2ecom/",
        "https://exa$mple.com/",
        "https://" + "a" * 64 + ".com/",
        "https://" + "a." * 130 + "com/",
        "https://example.com/" + "a" * 2048,
    ],
)
@pytest.mark.parametrize("allow_private", [False, True])
def test_what_is_no_plain_web_address_is_refused(url, allow_private):
    with pytest.raises(Invalid) as refusal:
        check_callback_url(url, allow_private=allow_private)
    assert (refusal.value.code, refusal.value.param) == ("callback_url_invalid", "callback_url")


@pytest.mark.parametrize(
    "url",
    [
        "https://localhost/",
        "https://LOCALHOST/",
        "https://a.localhost:8443/",
        "https://example.com:22/",
        "https://example.com:5432/",
        "http://example.com:8283/",
    ],
)
def test_local_names_and_other_services_ports_are_refused_unless_private_networks_are_allowed(url):
    with pytest.raises(Invalid) as refusal:
        check_callback_url(url, allow_private=False)
    assert refusal.value.code == "callback_url_forbidden"
    assert check_callback_url(url, allow_private=True).host == re.split("[/:]", url.lower())[3]


@pytest.mark.parametrize(
    ("url", "expected", "receiver"),
    [
        ("https://example.com", "https://example.com:443/", "example.com:443"),
        ("HTTP://Example.COM/Hook?a=%20B", "http://example.com:80/Hook?a=%20B", "example.com:80"),
        ("https://example.com?x=1", "https://example.com:443/?x=1", "example.com:443"),
        ("https://my_service.example.com:8443/", "https://my_service.example.com:8443/", "my_service.example.com:8443"),
        ("https://bücher.example/", "https://xn--bcher-kva.example:443/", "xn--bcher-kva.example:443"),
        ("https://BÜCHER.example/", "https://xn--bcher-kva.example:443/", "xn--bcher-kva.example:443"),
        ("http://8.8.8.8:8080/", "http://8.8.8.8:8080/", "8.8.8.8:8080"),
        ("http://[2606:4700:4700:0::1111]/", "http://[2606:4700:4700::1111]:80/", "[2606:4700:4700::1111]:80"),
    ],
)
def test_a_public_url_has_one_reading(url, expected, receiver):
    assert str(check_callback_url(url, allow_private=False)) == expected
    assert parse_callback_url(expected) == parse_callback_url(url)
    assert receiver_of(url) == receiver


def test_the_parts_of_a_private_url():
    expected = CallbackUrl(scheme="http", host="::1", port=9000, target="/x", address=ip_address("::1"))
    assert check_callback_url("http://[::1]:9000/x", allow_private=True) == expected


@pytest.mark.parametrize(("ports", "allowed"), [(frozenset({9000}), True), (frozenset({443}), False), (None, True)])
def test_which_ports_are_called_is_the_operators_choice(ports, allowed):
    url = "https://example.com:9000/"
    if allowed:
        assert check_callback_url(url, allow_private=False, ports=ports).port == 9000
        return
    with pytest.raises(Invalid, match="Port 9000 is not called; the server's setting callback_ports allows 443"):
        check_callback_url(url, allow_private=False, ports=ports)


def test_any_port_is_not_any_address():
    with pytest.raises(Invalid, match="this address"):
        check_callback_url("http://10.0.0.1:9000/", allow_private=False, ports=None)
