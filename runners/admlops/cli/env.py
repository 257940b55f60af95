"""`admlops env`: environments of the models."""

from __future__ import annotations

import click

from admlops.cli.lazy import LazyGroup

COMMANDS = {
    "install": ("admlops.cli.env_install:install", "Build environments from their locks; nothing if they are ready."),
    "list": ("admlops.cli.env_list:list_environments", "Say which environments are ready or broken."),
    "show": ("admlops.cli.env_manage:show", "What one environment holds and where it came from."),
    "run": ("admlops.cli.env_use:run_command", "Run a program in a model's environment."),
    "shell": ("admlops.cli.env_use:shell", "A shell in a model's environment."),
    "variables": ("admlops.cli.env_use:variables", "The variables of a model's environment."),
    "verify": ("admlops.cli.env_manage:verify", "Compare environments with their locks, file by file."),
    "repair": ("admlops.cli.env_repair:repair", "Reinstall what differs from the locks."),
    "probe": ("admlops.cli.env_probe:probe", "Try imports, kernels and operations on this machine."),
    "remove": ("admlops.cli.env_manage:remove", "Remove environments that admlops made."),
    "gc": ("admlops.cli.env_manage:collect_garbage", "Remove environments that no lock asks for any more."),
    "pack": ("admlops.cli.env_pack:pack", "Make one archive of an environment."),
    "push": ("admlops.cli.env_pack:push", "Copy packs to a folder or an S3-compatible store."),
    "pull": ("admlops.cli.env_pack:pull", "Copy packs from a folder or an S3-compatible store."),
    "lock": ("admlops.cli.env_lock:lock", "Find packages that answer an environment's inputs, and lock them."),
}
"""name: (module:attribute, the line that `admlops env --help` shows)"""


@click.group(cls=LazyGroup, lazy=COMMANDS, epilog="Example: admlops env install GroundPlane")
def env() -> None:
    """Environments: one per model and variant, built from hashed locks."""
