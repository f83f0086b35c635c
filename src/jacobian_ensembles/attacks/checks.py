"""Checks on what an attack returns."""

from __future__ import annotations

from torch import Tensor


def check_deltas(deltas: Tensor, shape: tuple[int, ...], eps: float, method: str) -> None:
    """Refuse what an attack returned, if it is not K perturbations within eps.

    Args:
        deltas: What it returned.
        shape: (K, ...), what it must be.
        eps: Radius.
        method: The attack's name, for the message.

    Raises:
        ValueError: Saying what was got.
    """
    if tuple(deltas.shape) != shape:
        raise ValueError(f"{method}: perturbations of shape {shape} are needed, it returned {tuple(deltas.shape)}.")
    largest = deltas.abs().max().item()
    if not largest <= eps * (1 + 1e-6):
        raise ValueError(f"{method}: it returned a perturbation of size {largest:g}, where eps is {eps:g}.")
