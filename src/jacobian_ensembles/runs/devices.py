"""Where a job computes: counting GPUs without importing torch, claiming a slot on one, and setting torch up."""

from __future__ import annotations

import ctypes
import itertools
import logging
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)


class NoFreeSlotError(RuntimeError):
    """More GPU jobs run than there are slots."""


def visible_gpus() -> list[str]:
    """The GPUs this process may use, as ``CUDA_VISIBLE_DEVICES`` would name them; empty if there are none."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        names = [name.strip() for name in chosen.split(",")]  # CUDA ignores what follows an invalid name
        return list(itertools.takewhile(lambda name: name not in ("", "-1", "NoDevFiles"), names))
    try:
        listing = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, encoding="utf-8", errors="replace", timeout=30
        )
    except (OSError, subprocess.SubprocessError):
        return []
    lines = [line for line in listing.stdout.splitlines() if line.startswith("GPU ")]
    return [str(i) for i in range(len(lines))] if listing.returncode == 0 else []


@cache
def _built_without_cuda() -> bool:
    """Whether the installed torch is a build for CPUs, which its version file tells without an import of torch."""
    found = find_spec("torch")
    try:
        text = Path(found.origin).with_name("version.py").read_text(encoding="utf-8") if found and found.origin else ""
    except OSError:
        return False
    return bool(re.search(r"^cuda\b[^=\n]*= *None", text, re.M)) and bool(
        re.search(r"^hip\b[^=\n]*= *None", text, re.M)
    )


def wants_gpu(device: str) -> bool:
    """Whether jobs should ask for a GPU: ``cuda`` yes, ``cpu`` no, ``auto`` when machine and torch have one to use."""
    if device != "auto":
        return device == "cuda"
    gpus = visible_gpus()
    if gpus and _built_without_cuda():
        log.warning("A GPU is there, but the installed torch is a build for CPUs only: computing on the CPU.")
        return False
    return bool(gpus)


@contextmanager
def claim_gpu(slots: int) -> Iterator[str]:
    """Hold one GPU slot, and make its device the only one CUDA sees.

    Snakemake counts GPU jobs but hands out no device. A lock file per (device, slot) does: the first free one
    is taken, every device's first slot before any second one, so that jobs spread over the devices before they
    share one. Call it before torch is imported; the lock is released when the job ends, however it ends.

    Args:
        slots: Jobs that may share one device.

    Yields:
        The device's name in ``CUDA_VISIBLE_DEVICES``.

    Raises:
        NoFreeSlotError: If every slot of every visible device is taken, or no device is visible.
    """
    from filelock import FileLock, Timeout

    devices = visible_gpus()
    folder = Path(tempfile.gettempdir()) / f"jacobian-ensembles-gpus-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    for slot in range(slots):
        for device in devices:
            lock = FileLock(folder / f"{device.replace('/', '-')}.slot{slot}.lock", timeout=0)
            try:
                lock.acquire()
            except Timeout:
                continue
            before = os.environ.get("CUDA_VISIBLE_DEVICES")
            os.environ["CUDA_VISIBLE_DEVICES"] = device
            try:
                yield device
            finally:
                if before is None:
                    del os.environ["CUDA_VISIBLE_DEVICES"]
                else:
                    os.environ["CUDA_VISIBLE_DEVICES"] = before
                lock.release()
            return
    if not devices:
        raise NoFreeSlotError("No GPU is visible to this job. Set compute.device: cpu, or give the job a GPU.")
    total = len(devices) * slots
    raise NoFreeSlotError(
        f"No free GPU slot: other jobs hold all of {total} (GPUs: {len(devices)}, compute.gpu_slots: {slots}). Wait "
        f"for them, give Snakemake '--resources gpu={total}' or less, let more jobs share a GPU with "
        "compute.gpu_slots, or set compute.device: cpu."
    )


def _keep_freed_memory() -> None:
    """Have glibc keep freed memory for the next batch instead of handing it back to the kernel.

    Otherwise every activation of a few megabytes is mapped, zeroed page by page, and unmapped again, which
    can cost as much as computing it. Without glibc, nothing happens.
    """
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of <malloc.h>
    try:
        libc = ctypes.CDLL(None)
        libc.mallopt(mmap_threshold, 32 << 20)  # the most glibc accepts
        libc.mallopt(trim_threshold, 1 << 30)
    except (OSError, AttributeError):
        return


def prepare_device(name: str) -> torch.device:
    """Set torch up for reproducible, fast float32 on a device: no TF32, deterministic algorithms.

    Args:
        name: ``cpu`` or ``cuda``.

    Returns:
        The device.

    Raises:
        RuntimeError: If ``cuda`` is asked for and torch sees no CUDA device.
    """
    import torch

    _keep_freed_memory()
    if name == "cuda":
        if not torch.cuda.is_available():
            gpus = visible_gpus()
            seen = f"{len(gpus)}, called {', '.join(gpus)}" if gpus else "none"
            raise RuntimeError(
                f"compute.device is cuda, or auto on a machine that lists GPUs (here {seen}), but torch "
                f"{torch.__version__}, built for CUDA {torch.version.cuda or 'none'}, can use none. Install a torch "
                "that fits the driver, or set compute.device: cpu."
            )
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        torch.use_deterministic_algorithms(True)
    return torch.device(name)
