"""How a result was made: settings, versions, commit, machine and times."""

from __future__ import annotations

import logging
import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jacobian_ensembles

log = logging.getLogger(__name__)
_FILE = Path(__file__).resolve()


def _git(*command: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}  # by a hook, say
    # the clone may be somebody else's: git refuses it unless told that this very folder is meant
    done = subprocess.run(
        ["git", "-c", f"safe.directory={source_tree()}", "-C", str(_FILE.parent), *command],
        capture_output=True, encoding="utf-8", errors="replace", timeout=60, check=True, env=environment,
    )  # fmt: skip
    return done.stdout.strip()


def source_tree() -> Path:
    """The folder of this project's source tree, if the package is not an installed copy."""
    return _FILE.parents[3]


def commit() -> str | None:
    """The git commit of this project's source tree, with ``-dirty`` when it has uncommitted changes.

    None outside git, and inside another project's repository, whose commit says nothing about this code. A git that
    fails on this source tree's own repository is warned of, in git's words.
    """
    try:
        top, head = _git("rev-parse", "--show-toplevel", "HEAD").splitlines()
        if Path(top).resolve() != source_tree():
            return None
        _git("ls-files", "--error-unmatch", str(_FILE))
        return head + ("-dirty" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        if (source_tree() / ".git").exists():
            log.warning("No commit is recorded: %s", (getattr(error, "stderr", None) or str(error)).strip())
        return None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def versions() -> dict[str, str | None]:
    """The versions of the packages that results depend on; None for one that is missing."""
    return {name: _version(name) for name in ("torch", "torchvision", "numpy", "pandas", "seaborn")}


def about() -> dict[str, str | None]:
    """The package, its commit, Python, the packages that results depend on, and the platform."""
    python, system = platform.python_version(), platform.platform()
    own = {"jacobian-ensembles": jacobian_ensembles.__version__, "commit": commit(), "python": python}
    return {**own, **versions(), "platform": system}


def provenance(settings: Mapping[str, Any], device: str, threads: int, seconds: float) -> dict[str, Any]:
    """Describe how a result was made.

    Args:
        settings: The resolved configuration leaves and seeds that went into it.
        device: The device it was computed on, such as ``cpu`` or ``cuda:0 NVIDIA ...``.
        threads: CPU threads used.
        seconds: Wall time in seconds.

    Returns:
        A JSON-able record with settings, versions, commit, machine and times.
    """
    return {
        "settings": dict(settings),
        "device": device,
        "threads": threads,
        "wall_seconds": round(seconds, 3),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "package": jacobian_ensembles.__version__,
        "commit": commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": versions(),
    }
