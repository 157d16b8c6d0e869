"""How long to wait before the next attempt."""

from __future__ import annotations

import random

_FIRST_WAIT = 1.0  # seconds; bounds the first wait, and the bound doubles each time
LONGEST_WAIT = 30.0


class Backoff:
    """Computes a random wait up to a bound that doubles ("full jitter"), so that many
    clients do not come back at the same time."""

    def __init__(self, longest: float = LONGEST_WAIT) -> None:
        self._longest = longest
        self._failures = 0

    def reset(self) -> None:
        self._failures = 0

    def next(self, asked: float = 0) -> float:
        """The wait in seconds: what the server asked for, plus the random time."""
        bound = min(_FIRST_WAIT * 2 ** min(self._failures, 16), self._longest)
        self._failures += 1
        return asked + random.uniform(0, bound)
