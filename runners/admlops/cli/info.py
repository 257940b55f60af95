"""`admlops info`: what a bug report needs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click


@click.command(epilog="Example: admlops info --json > info.json")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def info(as_json: bool) -> None:
    """Describe this machine and installation: GPUs, disks, memory, versions, environments, variables.

    It is what a bug report needs. It holds nothing secret: only the variables that admlops and CUDA read, addresses
    without user and password, and ~ for your home folder.
    """
    from admlops.cli.config_files import find_files
    from admlops.core.paths import find_layout
    from admlops.pipeline.support import describe_installation

    facts = describe_installation(find_layout(), configuration=find_files())
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    for title, lines in _sections(facts).items():
        click.echo(click.style(title, bold=True))
        for label, text in lines:
            click.echo(f"  {label:<18} {text}".rstrip())


def _sections(facts: Mapping[str, Any]) -> dict[str, list[tuple[str, str]]]:
    own, machine = facts["admlops"], facts["machine"]
    return {
        f"admlops {own['version']}": [
            ("commit", own["commit"] or "not a git checkout"),
            ("folder", own["folder"]),
            ("runs", str(facts["runs"])),
            ("configuration", ", ".join(facts["configuration"]) or "no file"),
        ],
        "Machine": [
            ("system", f"{machine['system']}, {machine['distribution'] or 'unknown distribution'}"),
            ("processor", f"{machine['cpu']}, {machine['cpu_count']} cores"),
            ("memory", f"{machine['memory_available_mb'] / 1e3:.1f} of {machine['memory_mb'] / 1e3:.1f} GB free"),
            *_gpus(machine["gpus"]),
        ],
        "Disks": [(one["what"], _spell_disk(one)) for one in facts["disks"]],
        "Programs": [
            ("python", machine["python"]),
            *((name, found or "not there") for name, found in facts["programs"].items()),
        ],
        "Environments": [(one["state"], _spell_environment(one)) for one in facts["environments"]] or [("none", "")],
        "Packages": [("", ", ".join(f"{name} {number}" for name, number in facts["packages"].items()))],
        "Variables": [(name, value) for name, value in facts["variables"].items()] or [("none", "")],
    }


def _gpus(gpus: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = [
        (
            f"GPU {one['index']}",
            f"{one['name']}, {(one['memory_mb'] or 0) / 1e3:.0f} GB, compute capability {one['compute_capability']}",
        )
        for one in gpus["devices"]
    ]
    wrong = [text for text in (gpus["problem"], *gpus["lost"]) if text]
    return [
        ("NVIDIA driver", gpus["driver"] or "none"),
        *(rows or [("GPU", "none")]),
        *(("problem", text) for text in wrong),
    ]


def _spell_disk(one: Mapping[str, Any]) -> str:
    if "free_mb" not in one:
        return f"{one['folder']}: not there"
    return f"{one['folder']}: {one['free_mb'] / 1e3:.1f} of {one['total_mb'] / 1e3:.1f} GB free, {one['file_system']}"


def _spell_environment(one: Mapping[str, Any]) -> str:
    built = ", ".join(str(one[key]) for key in ("installer", "device") if one[key])
    size = "" if one["size_bytes"] is None else f", {one['size_bytes'] / 1e6:.0f} MB"
    return f"{one['name']} ({built or 'unknown'}{size}){'' if one['asked_for'] else ', no lock asks for it'}"
