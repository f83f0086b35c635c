"""How a result was made: settings, versions, commit, machine and times."""

from __future__ import annotations

import json
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
from jacobian_ensembles.storage.checksums import PROVENANCE, read_provenance, recorded_checksum, sha256
from jacobian_ensembles.storage.files import ArtifactError

log = logging.getLogger(__name__)
_FILE = Path(__file__).resolve()
_NOT_RESULTS = ("--", ":/", ":(top,exclude)results")


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

    Changed results, as of a run that was shipped anew, are none. None outside git, and inside another project's
    repository, whose commit says nothing about this code. A git that fails on this source tree's own repository is
    warned of, in git's words.
    """
    try:
        top, head = _git("rev-parse", "--show-toplevel", "HEAD").splitlines()
        if Path(top).resolve() != source_tree():
            return None
        _git("ls-files", "--error-unmatch", str(_FILE))
        return head + ("-dirty" if _git("status", "--porcelain", "--untracked-files=no", *_NOT_RESULTS) else "")
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


def provenance(
    settings: Mapping[str, Any], device: str, threads: int, seconds: float, revision: str | None = None
) -> dict[str, Any]:
    """Describe how a result was made.

    Args:
        settings: The resolved configuration leaves and seeds that went into it.
        device: The device it was computed on, such as ``cpu`` or ``cuda:0 NVIDIA ...``.
        threads: CPU threads used.
        seconds: Wall time in seconds.
        revision: The commit, where it is known; None asks git.

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
        "commit": revision or commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": versions(),
    }


def files_of_job(
    record: str | Path, root: str | Path, inputs: Iterable[str], outputs: Iterable[str]
) -> dict[str, dict[str, str | None]]:
    """What the provenance record of a job says of its files.

    Args:
        record: The provenance record, which is none of them.
        root: The run's folder.
        inputs: What the job read.
        outputs: What it wrote.

    Returns:
        ``outputs``: the SHA-256 of each by its path from the record's folder. ``inputs``: the same, as recorded when
        they were made, by the path from the run's folder; None for what no provenance record names.
    """
    wrote: dict[str, str | None] = {
        os.path.relpath(path, Path(record).parent): sha256(path) for path in outputs if path != str(record)
    }
    return {"inputs": inputs_of_job(root, inputs), "outputs": wrote}


def inputs_of_job(root: str | Path, inputs: Iterable[str]) -> dict[str, str | None]:
    """The inputs of a job: see :func:`files_of_job`."""
    made = {path: None if path.endswith(PROVENANCE) else recorded_checksum(path) for path in map(str, inputs)}
    return {os.path.relpath(path, root): checksum for path, checksum in made.items()}


def disagreement(path: str | Path, settings: Mapping[str, Any], inputs: Mapping[str, str | None]) -> str | None:
    """How a result that exists was made otherwise than one that is asked for.

    Args:
        path: The provenance record beside it.
        settings: What it must have been made with, as :func:`provenance` records it.
        inputs: Of :func:`inputs_of_job`, now.

    Returns:
        What differs, in words; None if nothing does.
    """
    if not Path(path).is_file():
        return f"there is no {Path(path).name}"
    try:
        record = read_provenance(path)
    except ArtifactError as error:
        return str(error)
    if record["settings"] != settings:
        return _difference(record["settings"], settings)
    used = record.get("inputs", {})
    if odd := sorted(used.keys() ^ inputs.keys()):
        return f"{odd[0]} {'was' if odd[0] in used else 'was not'} among its inputs"
    both = {name: {used[name], inputs[name]} for name in sorted(used)}
    changed = [name for name, checksums in both.items() if len(checksums) > 1 and None not in checksums]
    return f"{changed[0]} was another" if changed else None


def _difference(was: Any, now: Any, at: str = "") -> str:
    """The first setting that differs, however deep."""
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        key = next(key for key in sorted(was.keys() | now.keys()) if was.get(key) != now.get(key))
        return _difference(was.get(key), now.get(key), f"{at}.{key}".lstrip("."))
    return f"{at} was {json.dumps(was)}, and is {json.dumps(now)}"


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
