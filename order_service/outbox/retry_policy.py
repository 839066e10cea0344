"""When an event that was not taken is tried again."""

import random
from collections.abc import Callable
from typing import Final

_FIRST_SECONDS: Final = 0.5
_LONGEST_SECONDS: Final = 60.0


def delay_seconds(attempts: int, jitter: Callable[[float, float], float] = random.uniform) -> float:
    """Seconds to wait after `attempts` failed tries: doubling up to a minute, give or take a quarter."""
    return jitter(0.75, 1.25) * min(_LONGEST_SECONDS, _FIRST_SECONDS * 2.0 ** min(attempts, 16))
