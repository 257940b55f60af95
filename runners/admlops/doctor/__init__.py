"""Known failures: what a log or an error means and what mends it; docs/doctor.md explains the rules.

It may import core. Begin with `diagnose.py`, then `match.py`; `rules/` holds the failures as data.
"""

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
