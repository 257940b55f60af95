"""Known failures of builds, imports and workers: `rules.toml` says what they look like and what mends them."""

from admlops.doctor.diagnose import Diagnosis, diagnose
from admlops.doctor.probes import Site
from admlops.doctor.rules import PHASES, Phase, Rule, load_rules

__all__ = ["PHASES", "Diagnosis", "Phase", "Rule", "Site", "diagnose", "load_rules"]
