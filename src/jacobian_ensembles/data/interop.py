"""Tensors and arrays: which is which, and the way between them. No torch, until something is a tensor."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    #: What images, labels and perturbations may be; all of one call are the same.
    Array = Tensor | np.ndarray


def is_tensor(value: Any) -> bool:
    """Whether something is a tensor. There are none before torch is imported."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def on_gpu(value: Any) -> bool:
    """Whether something is a tensor on another device than the CPU."""
    return is_tensor(value) and value.device.type != "cpu"


def to_numpy(value: Array) -> np.ndarray:
    """A tensor of any device as an array, without its graph; an array as it is."""
    tensor: Any = value
    found: np.ndarray = tensor.detach().cpu().numpy() if is_tensor(value) else tensor
    return found


def like(array: np.ndarray, other: Any) -> Any:
    """An array as what something else is: itself, or a tensor on the CPU."""
    if not is_tensor(other):
        return array
    import torch

    return torch.from_numpy(array)


def stack(parts: Sequence[Any]) -> Any:
    """Stack tensors or arrays along a new first axis."""
    if not is_tensor(parts[0]):
        return np.stack(parts)
    import torch

    return torch.stack(list(parts))


def concatenate(parts: Sequence[Any]) -> Any:
    """Join tensors or arrays along their first axis."""
    if not is_tensor(parts[0]):
        return np.concatenate(parts)
    import torch

    return torch.cat(list(parts))
