"""Grams of CO₂ equivalent of an amount of energy: they depend on where it came from, and every number says where.

g = J / 3.6e6 · intensity [kg/kWh] · PUE · 1000. The intensity is a country's yearly mean, or the user's own. The power
usage effectiveness (PUE) is what a computing centre draws for each joule that its machines use; 1 by default.

Source of the intensities: the table of codecarbon 3.3.2 (MIT), yearly means of 2023 from Our World in Data (Ember).
Source of PUE: The Green Grid, White Paper 49; ISO/IEC 30134-2.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from admlops.core.errors import UsageError

JOULES_PER_KWH = 3.6e6
YEAR = 2023
SOURCE = "yearly mean, codecarbon 3.3.2"
COUNTRIES = {"USA": ("United States", 0.3695), "FRA": ("France", 0.0560), "DEU": ("Germany", 0.3810)}
"""ISO 3166-1 alpha-3 → name, kg CO₂e/kWh."""
SHORT = {"US": "USA", "FR": "FRA", "DE": "DEU"}
LARGEST_INTENSITY = 5.0
"""kg/kWh: no grid comes near it, so a larger number was meant in grams."""


@dataclass(frozen=True, kw_only=True)
class Carbon:
    """Where the energy came from: `intensity` [kg CO₂e/kWh], of which place and year, who says so, and the PUE."""

    intensity: float
    place: str
    year: int | None
    source: str
    pue: float = 1.0

    def grams(self, joules: float) -> float:
        """The grams of CO₂ equivalent of an amount of energy."""
        return joules / JOULES_PER_KWH * self.intensity * self.pue * 1e3

    def to_json(self) -> dict[str, Any]:
        """The form in metrics.json."""
        return {"intensity_kg_per_kwh": self.intensity, **{k: v for k, v in asdict(self).items() if k != "intensity"}}


def choose_carbon(country: str | None, intensity: float | None, pue: float | None) -> Carbon | None:
    """Return the carbon of the options; None where they name neither a country nor an intensity.

    Raises:
        UsageError: the country is not known and no intensity is given, or a number is out of range.
    """
    if intensity is not None and not 0 <= intensity <= LARGEST_INTENSITY:
        raise UsageError(
            f"--intensity {intensity:g} is not in kg CO2e/kWh, which is between 0 and {LARGEST_INTENSITY:g}",
            hint="pass --intensity 0.38   # grams per kWh are a thousandth of it",
        )
    if pue is not None and not 1 <= pue <= 10:
        raise UsageError(f"--pue {pue:g} is not a power usage effectiveness", hint="pass 1 or more, such as --pue 1.2")
    if intensity is not None:
        place = country or "not named"
        return Carbon(intensity=intensity, place=place, year=None, source="given by the user", pue=pue or 1.0)
    if country is None:
        if pue is not None:
            raise UsageError("--pue alone gives no carbon", hint="add --country FRA, or --intensity KG_PER_KWH")
        return None
    code = SHORT.get(country.upper(), country.upper())
    if code not in COUNTRIES:
        known = ", ".join(f"{one} ({name})" for one, (name, _) in COUNTRIES.items())
        raise UsageError(
            f"there is no intensity of {country!r} here; there are {known}",
            hint=f"pass --country {country} --intensity KG_PER_KWH, such as the grid operator's own number",
        )
    name, value = COUNTRIES[code]
    return Carbon(intensity=value, place=name, year=YEAR, source=SOURCE, pue=pue or 1.0)
