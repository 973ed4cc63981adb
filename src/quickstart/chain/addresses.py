"""Addresses that strangers publish: none may lead into this machine or the network it stands in."""

import ipaddress
import socket
from contextlib import suppress
from urllib.parse import urlsplit

from quickstart.errors import WeightsError


def is_loopback(url: str) -> bool:
    """Whether a URL names this machine."""
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


def refuse_private(url: str) -> None:
    """Lets through http(s) URLs whose host is public, by its name and by every address it stands for.

    A name that cannot be looked up is let through: a proxy may know it, and without one nothing answers.

    Raises:
        WeightsError: another scheme, or an address of this machine or of a private network.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise WeightsError(f"not a URL ({error})") from error
    if parts.scheme not in ("http", "https") or not host:
        raise WeightsError("not an http(s) URL")
    found = [host] if _is_address(host) else []
    with suppress(OSError, UnicodeError):
        found += [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    if _names_this_machine(host) or any(map(_is_private, found)):
        raise WeightsError(f"{host[:80]} lies on this machine or in a private network, which no stranger may name")


def _names_this_machine(host: str) -> bool:
    return host.rstrip(".").endswith("localhost")


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True


def _is_private(text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if inner is not None:
            address = inner
    return not address.is_global or address.is_multicast
