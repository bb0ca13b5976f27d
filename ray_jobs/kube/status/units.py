# SPDX-License-Identifier: Apache-2.0
"""Units: parses Kubernetes' times and quantities, and formats durations."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

_FACTORS = {
    **{unit: Decimal(1000) ** power for power, unit in enumerate(("", "k", "M", "G", "T", "P", "E"))},
    **{f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", start=1)},
    "m": Decimal("0.001"),
    "u": Decimal("0.000001"),
    "n": Decimal("0.000000001"),
}


def quantity(text: str | int | float) -> Decimal:
    """The number in ``500m``, ``8Gi`` or ``1e3``. Raises ValueError."""
    written = str(text).strip()
    digits = written.rstrip("".join(sorted({letter for unit in _FACTORS for letter in unit})))
    unit = written[len(digits) :]
    try:
        if unit in _FACTORS:
            return Decimal(digits) * _FACTORS[unit]
        return Decimal(written)
    except ArithmeticError:
        raise ValueError(f"{text!r} is not a quantity") from None


def moment(text: str | None) -> datetime | None:
    """A time from an object; None if it has none."""
    return datetime.fromisoformat(text) if text else None


def since(then: str | None, now: datetime) -> str:
    """The time since ``then``: ``40 s``, ``4 min``, ``2 h 5 min``, ``3 days``; empty if unknown."""
    began = moment(then)
    return "" if began is None else words((now - began).total_seconds())


def words(seconds: float) -> str:
    minutes = int(max(0.0, seconds)) // 60
    if minutes < 1:
        return f"{int(max(0.0, seconds))} s"
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"
    return f"{minutes // 60 // 24} days"
