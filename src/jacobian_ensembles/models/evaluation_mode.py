"""Temporary modes: of a model, and of torch. No torch, until there is a module."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


@contextmanager
def own_modes() -> Iterator[None]:
    """Torch's global modes as this package needs them, whatever the caller's: gradients can be had, floats are float32.

    An evaluation loop's ``torch.inference_mode()`` would make every gradient fail, another default type change results.
    """
    if (torch := sys.modules.get("torch")) is None:  # it has no modes yet
        yield
        return
    before = torch.get_default_dtype()
    with torch.inference_mode(False):
        torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            torch.set_default_dtype(before)


@contextmanager
def without_gradients() -> Iterator[None]:
    """``torch.no_grad()``, where torch is in use."""
    if (torch := sys.modules.get("torch")) is None:
        yield
        return
    with torch.no_grad():
        yield


@contextmanager
def evaluating(model: Callable[..., Any]) -> Iterator[None]:
    """Call a model's ``eval()`` for the duration, then put each module back into its old mode; functions have none.

    Args:
        model: A module, whose own ``eval()`` and ``train()`` are called, or a function.
    """
    torch = sys.modules.get("torch")
    modules = list(model.modules()) if torch is not None and isinstance(model, torch.nn.Module) else []
    before = [getattr(module, "training", None) for module in modules]
    if modules and before[0] is not None:
        with suppress(NotImplementedError):
            modules[0].eval()
    else:
        _switch(modules, [None if mode is None else False for mode in before])
    try:
        yield
    finally:
        _switch(modules, before)


def _switch(modules: Sequence[nn.Module], modes: Sequence[bool | None]) -> None:
    """Put modules into the given modes, parents first; None leaves one alone."""
    # frozen TorchScript has no mode, and exported programs refuse a change of it
    for module, mode in zip(modules, modes, strict=True):
        if mode is None or getattr(module, "training", None) == mode:
            continue
        with suppress(NotImplementedError):
            module.train(mode)
        if getattr(module, "training", None) != mode:  # its own train() does something else
            with suppress(NotImplementedError):
                module.training = mode
