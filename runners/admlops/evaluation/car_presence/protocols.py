"""The protocol of cars in whole pictures."""

from __future__ import annotations

PRESENCE_PROTOCOL = "car_presence.car"
AT_THRESHOLD = ("F1", "precision", "recall")
"""The numbers at the model's operating threshold."""
