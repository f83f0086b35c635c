"""Checks on the numbers that the library is given: eps and attack seeds. No torch."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any, SupportsFloat


def check_eps(eps: Any) -> float:
    """Check a radius.

    Args:
        eps: A number in (0, 1], in pixel units; of any type that is one number, but no text and no truth value.

    Returns:
        The number.

    Raises:
        ValueError: If it is anything else.
    """
    value = _one_number(eps)
    if value is None:
        raise ValueError(f"eps must be one number in (0, 1], in pixel units. Got {eps!r}.")
    if not 0 < value <= 1:
        of_255 = f" If it is of 255, give {value:g} / 255." if 1 < value <= 255 else ""
        raise ValueError(f"eps must lie in (0, 1], in pixel units. Got {value:g}.{of_255}")
    return value


def _one_number(value: Any) -> float | None:
    """A number of Python, NumPy or torch, without dimensions; None for anything else."""
    kind = str(getattr(value, "dtype", ""))
    text_or_truth = isinstance(value, str | bytes | bool) or "bool" in kind
    if text_or_truth or getattr(value, "shape", ()) != () or not isinstance(value, SupportsFloat):
        return None
    return float(value)


def check_seeds(seeds: Any) -> list[int]:
    """Check attack seeds.

    Args:
        seeds: A number K for 0, 1, ..., K - 1; or K whole numbers of any type: a list, a range, an array, a tensor.

    Returns:
        K different whole numbers >= 0.

    Raises:
        ValueError: If it is anything else.
    """
    try:
        if isinstance(seeds, Iterable):
            found = [_whole(seed) for seed in seeds]
        else:
            found = list(range(count)) if (count := _whole(seeds)) >= 0 else [count]
    except TypeError:
        found = [-1]
    if isinstance(seeds, str | bytes) or any(not 0 <= seed < 2**63 for seed in found):
        raise ValueError(f"seeds must be whole numbers from 0 on, or how many there are. Got {seeds!r}.")
    if not found:
        raise ValueError(f"seeds must hold at least one attack seed. Got {seeds!r}.")
    if len(set(found)) < len(found):
        raise ValueError(f"seeds must differ, or perturbations would be the same. Got {seeds!r}.")
    return found


def _whole(value: Any) -> int:
    if isinstance(value, bool) or "bool" in str(getattr(value, "dtype", "")):
        raise TypeError
    return operator.index(value)
