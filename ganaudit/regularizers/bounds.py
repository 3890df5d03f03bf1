"""The one check of a regulariser's numbers."""

import math

from ganaudit.errors import ConfigError


def check_number(name: str, value: float, low: float, high: float) -> None:
    """Refuse a number outside [low, high].

    Raises:
      ConfigError: it is outside, or no number; the message names `name`, the bounds and the value.
    """
    if not math.isfinite(value) or not low <= value <= high:
        raise ConfigError(f"{name} must be in [{low:g}, {high:g}], got {value:g}")
