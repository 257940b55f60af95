"""`admlops env probe`: does an environment work on this machine?"""

from __future__ import annotations

import json

import click

from admlops.cli.completion import complete_environments
from admlops.cli.env_use import ANY_VARIANT, DEVICE


@click.command("probe", epilog="Example: admlops env probe MapTR --variant modern")
@click.argument("name", metavar="MODEL", shell_complete=complete_environments)
@ANY_VARIANT
@DEVICE
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def probe(name: str, variant: str | None, device: str | None, as_json: bool) -> None:
    """Import what MODEL needs, look for kernels for this GPU, and compare its operations with plain PyTorch.

    Probes all environments of MODEL that are here, or those of one variant or device. Explains failures that are known.
    """
    from admlops.core.paths import find_layout
    from admlops.environments import probing
    from admlops.environments.inventory import select

    rows = []
    for one in select(find_layout(), [name], variant=variant, device=device, prefer_ready=True):
        checks = probing.probe(one)
        rows.append({"name": one.name, "prefix": str(one.prefix), "checks": checks})
        if not as_json:
            seconds = sum(check["seconds"] for check in checks)
            click.echo(f"{one.prefix.name}: {len(checks)} checks passed in {seconds:.1f} s")
            for check in checks:
                click.echo(f"  {check['check']:<36} {check['said']}".rstrip())
    if as_json:
        click.echo(json.dumps(rows, indent=2))
