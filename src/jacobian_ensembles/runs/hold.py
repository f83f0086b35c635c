"""One process at a time works on the results of a run, wherever it was started from."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from filelock import FileLock, Timeout

log = logging.getLogger(__name__)
#: A lock that nobody refers to is given back at once.
_held: dict[Path, FileLock] = {}


class RunHeldError(RuntimeError):
    """Another process works on the same results."""


def hold_run(folder: str | Path) -> FileLock | None:
    """Hold a run's folder until this process ends, however it ends: the kernel gives the lock back.

    Snakemake's own lock knows the folder it was started in only. Two clones with a link to the same results, or two
    spellings of ``run.results``, would take each other's files for interrupted ones and remove them.

    Args:
        folder: ``results/<run>``; made if it is missing.

    Returns:
        What holds it; None where the file system knows no locks, after a warning.

    Raises:
        RunHeldError: If another process holds it.
    """
    path = Path(folder).resolve() / ".held"
    if path in _held:
        return _held[path]
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        holder = path.read_text(encoding="utf-8", errors="replace").strip() or "another process"
        raise RunHeldError(
            f"{path.parent}: {holder} works on these results. Wait for it, stop it, or give this run another run.name."
        ) from None
    except (NotImplementedError, OSError) as error:
        log.warning("%s: cannot be locked (%s). Start no second run on these results.", path.parent, error)
        return None
    path.write_text(f"process {os.getpid()}, started in {Path.cwd()},", encoding="utf-8")
    _held[path] = lock
    return lock
