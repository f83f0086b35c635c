"""How a result was made: settings, versions, commit, machine and times."""

from __future__ import annotations

import logging
import os
import platform
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
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


def training_seconds(records: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """How long one learner took to train, by ensemble method and strength.

    Args:
        records: What :func:`provenance` gave; only training jobs count.

    Returns:
        Mean wall seconds per learner, by the method's name and the strength as paths spell it.
    """
    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    for record in records:
        job = record["settings"]
        if job["rule"] in ("train_learner", "train_together") and "ensemble" in job:
            name = str(job["ensemble"]).rpartition(":")[2]
            learners = 1 if "member" in job else int(job["members"])
            times[name, job["lambda_jr"]].append(record["wall_seconds"] / learners)
    out: dict[str, dict[str, float]] = defaultdict(dict)
    for (name, strength), seconds in sorted(times.items()):
        out[name][strength] = round(sum(seconds) / len(seconds), 2)
    return dict(out)


def made_by(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What made a run, as its ``provenance.json`` says.

    Args:
        records: What :func:`provenance` gave for each of its jobs, at least one.

    Returns:
        Jobs and hours per rule, when the first and the last finished, seconds of training per learner, and every
        commit, device and version that took part.
    """
    jobs: dict[str, int] = defaultdict(int)
    seconds: dict[str, float] = defaultdict(float)
    seen: dict[str, set[str]] = defaultdict(set)
    for record in records:
        rule = record["settings"]["rule"]
        jobs[rule] += 1
        seconds[rule] += record["wall_seconds"]
        for key in ("commit", "device", "package", "python", "platform"):
            seen[key].add(str(record[key]))
        for package, installed in record["versions"].items():
            seen[package].add(str(installed))
        seen["finished"].add(record["finished"])
    finished = sorted(seen.pop("finished"))
    return {
        "jobs": dict(jobs),
        "hours": {rule: round(total / 3600, 3) for rule, total in seconds.items()},
        "first_finished": finished[0],
        "last_finished": finished[-1],
        "training_seconds": training_seconds(records),
        **{key: sorted(values) for key, values in seen.items()},
    }


def made_together(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What made all parts of a run.

    Args:
        records: Of :func:`made_by`, one per part.

    Returns:
        The same, with jobs and hours added up.
    """
    joined: dict[str, Any] = {}
    for key in ("jobs", "hours"):
        total: dict[str, float] = defaultdict(int)
        for rule, value in (item for record in records for item in record[key].items()):
            total[rule] = round(total[rule] + value, 3)
        joined[key] = dict(total)
    joined["first_finished"] = min(record["first_finished"] for record in records)
    joined["last_finished"] = max(record["last_finished"] for record in records)
    times: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        for method, seconds in record.get("training_seconds", {}).items():
            for strength, value in seconds.items():
                times[method][strength].append(value)
    means = {m: {s: round(sum(v) / len(v), 2) for s, v in found.items()} for m, found in times.items()}
    joined["training_seconds"] = means
    sets = dict.fromkeys(key for record in records for key in record if key not in joined)
    return joined | {key: sorted({value for record in records for value in record.get(key, [])}) for key in sets}


def short_commit(commit: str, digits: int) -> str:
    """The first digits of a commit's 40, and the ``-dirty`` that may follow them."""
    return commit[:digits] + commit[40:]
