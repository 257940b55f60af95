"""What `admlops serve` was asked for, in one frozen value."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from admlops.core.paths import Layout
from admlops.service.jobs.settings import JobSettings
from admlops.service.security.bodies import Limits
from admlops.service.security.tokens import Tokens

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where the service listens, who may use it, and what its jobs may do.

    `public_url` is the address that a proxy shows to the world.
    """

    layout: Layout
    jobs: JobSettings
    host: str = "127.0.0.1"
    port: int = 8000
    tokens: Tokens = field(default_factory=Tokens)
    runners: int = 1
    devices: tuple[str, ...] = ()
    allow_private_addresses: bool = False
    webhook_secret: bytes | None = None
    public_url: str | None = None
    limits: Limits = field(default_factory=Limits)

    @property
    def folder(self) -> Path:
        """The service's own folder, which holds the audit log."""
        return self.layout.repository / "service"

    @property
    def database(self) -> str:
        """The address of the queue's database."""
        return self.jobs.database

    @property
    def data_roots(self) -> tuple[Path, ...]:
        """The folders below which a job's data may lie."""
        return self.jobs.data_roots

    @property
    def is_loopback(self) -> bool:
        """Tell whether only this machine reaches the service."""
        return is_loopback(self.host)

    @property
    def url(self) -> str:
        """The address to type: the public one where it is known."""
        if self.public_url is not None:
            return self.public_url.rstrip("/")
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


def is_loopback(host: str) -> bool:
    """Tell whether an address to listen on is this machine's own alone."""
    if host in LOOPBACK_NAMES:
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
