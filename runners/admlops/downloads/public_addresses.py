"""Requests to addresses that strangers name: only to servers of the public network, whatever a name resolves to.

The connection goes to the very address that was looked at. So neither a name that resolves to another one the next time
(DNS rebinding) nor a redirect leads into the private network: each connection is checked when it is made.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import httpcore
import httpx

VARIABLE = "ADMLOPS_PUBLIC_ADDRESSES_ONLY"
"""Set in processes that work for strangers: downloads then go to public addresses alone."""
NAT64 = 0x0064_FF9B << 96
"""Prefix 64:ff9b::/96, behind which an IPv4 address stands (RFC 6052)."""


class PrivateAddressError(httpcore.ConnectError):
    """An address leads to this machine, to the private network or to no single server."""


class PublicBackend(httpcore.SyncBackend):
    """Connects to public addresses alone."""

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        address = resolve_public(host, port)
        return super().connect_tcp(address, port, timeout, local_address, socket_options)


class AsyncPublicBackend(httpcore.AnyIOBackend):
    """The same, in a loop."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        address = await asyncio.to_thread(resolve_public, host, port)
        return await super().connect_tcp(address, port, timeout, local_address, socket_options)


class PublicTransport(httpx.HTTPTransport):
    """httpx's transport over `PublicBackend`. It takes no proxy: a proxy would resolve names itself."""

    def __init__(self) -> None:
        super().__init__()
        self._pool.close()
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(), network_backend=PublicBackend(), max_connections=10
        )


def is_private_address(error: BaseException) -> bool:
    """Tell whether a request failed because its address is not public."""
    return isinstance(error, PrivateAddressError) or isinstance(error.__cause__, PrivateAddressError)


def resolve_public(host: str, port: int) -> str:
    """Return the first address of a host.

    Raises:
        PrivateAddressError: one of its addresses is not public; a name with both kinds is a trick.
        httpcore.ConnectError: it has none.
    """
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise httpcore.ConnectError(f"{host} is not known") from error
    addresses = [str(entry[4][0]) for entry in found]
    private = next((one for one in addresses if not is_public(one)), None)
    if private is not None or not addresses:
        raise PrivateAddressError(f"{host} is an address of the private network")
    return addresses[0]


def is_public(text: str) -> bool:
    """Tell whether an IP address is that of a server in the public network."""
    address: IPv4Address | IPv6Address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or _behind_nat64(address)
        if inner is not None:
            return is_public(str(inner))
        if address.teredo is not None:
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def public_only() -> bool:
    """Tell whether this process works for strangers."""
    return os.environ.get(VARIABLE) == "1"


def _behind_nat64(address: IPv6Address) -> IPv4Address | None:
    return IPv4Address(int(address) & 0xFFFF_FFFF) if int(address) >> 32 == NAT64 >> 32 else None
