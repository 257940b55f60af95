"""The addresses of machines in a cluster: their own, private, and reached by the others."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Sequence

from admlops.core.errors import UsageError
from admlops.execution.cluster.hosts import Host
from admlops.execution.cluster.ssh import Machines


def choose_head_address(bind: str | None, own: Sequence[str], hosts: Sequence[Host]) -> str:
    """Choose the address where the head listens: the requested one, MASTER_ADDR, or the one that reaches a host.

    Args:
        bind: the requested address.
        own: this machine's addresses.
        hosts: the other machines.

    Raises:
        UsageError: `bind` is no address of this machine, or this machine has none that others could reach.
    """
    if bind is not None:
        if bind not in own:
            raise UsageError(
                f"--bind {bind} is no address of this machine; it has {', '.join(own)}", hint="ip -br address"
            )
        return bind
    if os.environ.get("MASTER_ADDR") in own:
        return os.environ["MASTER_ADDR"]
    ways = [_way_to(host.address or host.target.rpartition("@")[2]) for host in hosts]
    usable = [way for way in ways if way in own and not ipaddress.ip_address(str(way)).is_loopback]
    private = [one for one in own if not _is_loopback(one) and ipaddress.ip_address(one).version == 4]
    chosen = next(iter([*usable, *private]), None)
    if chosen is None:
        raise UsageError(
            "this machine has no address that others could reach", hint="ip -br address   # then --bind IP"
        )
    return str(chosen)


def address_of(host: Host, own: Sequence[str], machines: Machines) -> str:
    """Return a host's address in the cluster: the one given, else the one that ssh connects to.

    Raises:
        UsageError: the address is not one of the host's `own`.
    """
    given = host.address or _resolve(machines.host_name(host.target, host.port))
    if given not in own and not _is_loopback(given):
        raise UsageError(
            f"{host.name} is reached at {given or 'an unknown address'}, which is no address of its own; "
            f"it has {', '.join(own)}",
            hint=f"name the one that the other machines reach: a line such as  {host.target} address=10.0.0.2",
        )
    return given


def check_addresses(addresses: Sequence[str], hosts: Sequence[Host], *, allow_public: bool) -> None:
    """Raise UsageError for an address of the public internet, and for a head on the loopback address."""
    for address, host in zip(addresses, hosts, strict=True):
        if ipaddress.ip_address(address).is_global and not allow_public:
            raise UsageError(
                f"{host.name} would be in the cluster at {address}, an address of the public internet",
                hint="name a private one: --bind, or address= in the host file; --allow-public takes it all the same",
            )
    if _is_loopback(addresses[0]):
        raise UsageError("the head cannot listen on the loopback address: Ray replaces it", hint="--bind IP")


def _way_to(host: str) -> str | None:
    """Return this machine's source address for traffic to a host; nothing is sent."""
    try:
        family, _, _, _, where = socket.getaddrinfo(host, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(where)
            return str(probe.getsockname()[0])
    except OSError:
        return None


def _resolve(name: str) -> str:
    try:
        return str(socket.getaddrinfo(name, 22, type=socket.SOCK_STREAM)[0][4][0])
    except OSError:
        return ""


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def bracketed(address: str) -> str:
    """Return an address as it is written before a port."""
    return f"[{address}]" if ":" in address else address


def is_address(text: str) -> bool:
    """Say whether a text is an IP address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
