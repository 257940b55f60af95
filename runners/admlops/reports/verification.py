"""The page of a verification: the four verdicts, and the numbers behind each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from admlops import __version__
from admlops.deployment.verification import DECODED, METRICS, TENSORS, Verification
from admlops.reports.html import make_environment

TONES = {"passed": "good", "failed": "bad", "not judged": "warn", "not run": "warn"}
QUANTITIES = {
    "centre_m": "centre [m]",
    "points_m": "points [m]",
    "size_m": "size [m]",
    "yaw_rad": "yaw [rad]",
    "velocity_m_s": "velocity [m/s]",
    "score": "score",
    "iou_lost": "1 - IoU",
    "label": "label",
}


def render_verification(verification: Verification) -> str:
    """Return the page's text; the same verification gives the same text."""
    facts = {step.name: step.facts for step in verification.steps}
    tasks = facts.get(DECODED, {}).get("tasks", [])
    quantities = [name for name in QUANTITIES if any(name in task["largest"] for task in tasks)]
    return (
        make_environment()
        .get_template("verification.html.j2")
        .render(
            about=verification.about,
            title=f"{verification.about['model']}@{verification.about['engine']}",
            verification=verification,
            tones=TONES,
            tensors=facts.get(TENSORS, {}).get("tensors", []),
            tasks=tasks,
            quantities=[(name, QUANTITIES[name]) for name in quantities],
            differences=facts.get(METRICS, {}).get("differences", []),
            provenance=_provenance(verification.about),
            version=__version__,
        )
    )


def _provenance(about: Mapping[str, Any]) -> list[tuple[str, str]]:
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    facts = [
        ("file", about["file"]),
        ("sha256", about["sha256"]),
        ("size", f"{about['size_bytes'] / 1e6:.1f} MB"),
        ("artifact", about["artifact"]),
        ("arithmetic", about["precision"]),
        ("runtime", f"{about['provider']}, {versions}"),
        ("device", about["device"]),
        ("reference's weights", about["reference"]),
        ("data", f"{about['data']['root']}, {about['data']['version']}; tensors on {about['data']['scene']}"),
        ("runs", ", ".join(about["runs"] or ())),
    ]
    return [(name, str(value)) for name, value in facts if value]
