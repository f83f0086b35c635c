"""An attack's random draws: torch's own, without torch.

A generator of torch on a CPU is the Mersenne Twister (Matsumoto, Nishimura, 1998), which NumPy has too. From the same
32-bit numbers the same draws are made here, so that a seed gives the perturbation that it always gave.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


class Draws:
    """The draws of ``torch.Generator().manual_seed(seed)``, to the bit.

    Args:
        seed: In [0, 2**64); only its last 32 bits count, as in torch.
    """

    def __init__(self, seed: int) -> None:
        state: Any = np.random.RandomState(seed & 0xFFFFFFFF).get_state(legacy=False)
        self._bits = np.random.MT19937()
        self._bits.state = state

    def permutation(self, size: int) -> Any:
        """``torch.randperm``: (size,) int64, a random order of ``range(size)``."""
        order = list(range(size))
        draws = self._bits.random_raw(max(size - 1, 0))
        steps = (draws % np.arange(size, 1, -1, dtype=np.uint64)).tolist()
        for i, step in enumerate(steps):
            order[i], order[i + step] = order[i + step], order[i]
        return np.array(order, np.int64)

    def uniform(self, shape: Sequence[int]) -> Any:
        """``torch.rand``: float32 in [0, 1), of a shape."""
        draws = self._bits.random_raw(int(np.prod(shape))).astype(np.uint32) & np.uint32(2**24 - 1)
        return (draws.astype(np.float32) * np.float32(2**-24)).reshape(shape)

    def seeds(self, count: int) -> list[int]:
        """``torch.randint(2**62, (count,))``."""
        halves = self._bits.random_raw(2 * count).reshape(count, 2)
        return [int((high << np.uint64(32) | low) % np.uint64(2**62)) for high, low in halves]
