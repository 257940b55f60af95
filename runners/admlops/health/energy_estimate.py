"""An estimate of energy by codecarbon, for machines that do not measure any.

codecarbon guesses a processor's power from its name and load, and takes memory as a constant: most of the result may be
that constant. It is no dependency: whoever wants it installs it beside admlops. It is asked here, in the host, and
never in a worker; its offline tracker makes no network call.

Source: codecarbon 3.3.2, docs "Methodology".
"""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from admlops.core.errors import UsageError

JOULES_PER_KWH = 3.6e6
LIBRARY = "codecarbon"


def require_estimate() -> str:
    """Return the version of codecarbon. Raises UsageError: it is not installed."""
    try:
        return version(LIBRARY)
    except PackageNotFoundError as error:
        raise UsageError(
            f"--estimate-energy needs {LIBRARY}, which is not installed",
            hint=f"uv pip install --python .venv/bin/python {LIBRARY}",
        ) from error


class EnergyEstimate:
    """codecarbon's tracker over one window. Raises UsageError: it is not installed."""

    def __init__(self) -> None:
        self.method = f"estimate:{LIBRARY} {require_estimate()}"
        library: Any = importlib.import_module(LIBRARY)
        self._tracker = library.OfflineEmissionsTracker(
            country_iso_code="USA",  # the energy does not depend on it
            save_to_file=False,
            log_level="critical",
            measure_power_secs=1,
            allow_multiple_runs=True,
        )
        self._kg_before = 0.0

    def start(self) -> None:
        """Start the tracker, which takes seconds: before anything that is measured."""
        self._tracker.start()

    def begin(self) -> None:
        """Begin the window."""
        self._kg_before = float(self._tracker.flush() or 0.0)

    def stop(self) -> float:
        """End the window, and return its energy [J]: its share of all energy equals its share of the carbon."""
        self._tracker.stop()
        found = self._tracker.final_emissions_data
        share = 1 - self._kg_before / found.emissions if found.emissions > 0 else 1.0
        return float(found.energy_consumed) * JOULES_PER_KWH * share
