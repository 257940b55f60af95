"""What a failure means and what mends it: `rules/` holds the known ones as data, docs/doctor.md explains them."""

from admlops.doctor.diagnose import Diagnosis, Explanation, Finding, diagnose, explain
from admlops.doctor.probes import Site
from admlops.doctor.rules import PHASES, Phase, Rule, load_rules

__all__ = [
    "PHASES",
    "Diagnosis",
    "Explanation",
    "Finding",
    "Phase",
    "Rule",
    "Site",
    "diagnose",
    "explain",
    "load_rules",
]
