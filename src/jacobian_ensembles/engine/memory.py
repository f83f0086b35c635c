"""Memory for the engine: aligned to a cache's line, and kept from call to call."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np

from jacobian_ensembles.engine.compiling import inner
from jacobian_ensembles.engine.vectors import LANES, load, store


def aligned(shape: int | tuple[int, ...], dtype: Any = np.float32) -> Any:
    """An array of zeros whose memory starts at a multiple of 64 bytes, a cache's line."""
    count = math.prod(shape) if isinstance(shape, tuple) else shape
    size = count * np.dtype(dtype).itemsize
    raw = np.zeros(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(dtype).reshape(shape)


@inner
def copy(vectors, out):  # type: ignore[no-untyped-def]
    """Copy vectors to the beginning of ``out``. An assignment of slices would compile seconds of numba's messages."""
    for at in range(len(vectors)):
        store(out, at, load(vectors, at))


class _Buffers(threading.local):
    """Memory for intermediate values, kept between calls and grown when one needs more."""

    def __init__(self) -> None:
        self._arrays: dict[str, Any] = {}

    def take(self, name: str, count: int, dtype: Any = np.float32) -> Any:
        """``count`` vectors, with whatever is in them."""
        kept = self._arrays.get(name)
        if kept is None or len(kept) < count:
            kept = self._arrays[name] = aligned((count, LANES), dtype)
        return kept[:count]

    def flat(self, name: str, count: int) -> Any:
        """``count`` numbers."""
        return self.take(name, -(-count // LANES)).reshape(-1)[:count]


buffers = _Buffers()
