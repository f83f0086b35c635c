"""Before a run starts: no other process works on its results, and there is room for temporary files."""

from __future__ import annotations

import logging
import os
import tempfile
from contextlib import suppress
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
    with suppress(OSError):  # only said to others; a full disk is found out by what needs room
        path.write_text(f"process {os.getpid()}, started in {Path.cwd()},", encoding="utf-8")
    _held[path] = lock
    return lock


def try_temporary_files() -> None:
    """Find out whether temporary files can be written, as Snakemake's scheduler does without naming them if it fails.

    Raises:
        OSError: If not; its message names the folder and what to do.
    """
    # Python alone looks for another folder where these name one that is full or missing
    named = [os.environ[name] for name in ("TMPDIR", "TMP") if os.environ.get(name)]
    for folder in named or [tempfile.gettempdir()]:
        try:
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(bytes(100_000))
                file.flush()
        except OSError as error:
            raise OSError(
                f"{folder}: temporary files cannot be written ({error.strerror}). Make room there, or name another "
                "folder: TMPDIR=/path/to/folder snakemake ..."
            ) from None
