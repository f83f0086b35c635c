"""What made a run: jobs, times, devices and versions, from its provenance records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

#: In place of a commit, where the code was not in a repository.
NO_COMMIT = "not in a git repository"


def jobs_by_rule(records: Iterable[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], dict[str, list[str]]]:
    """Summarise provenance records.

    Args:
        records: Of :func:`~jacobian_ensembles.runs.provenance.provenance`.

    Returns:
        Per rule, in the order met: jobs, total and longest wall time in seconds, threads and devices; and by name the
        distinct commits, versions and platforms behind the run, and when its first and last job finished.
    """
    rows: dict[str, dict[str, Any]] = {}
    facts: dict[str, set[str]] = {}
    finished = []
    for record in records:
        row = rows.setdefault(
            record["settings"]["rule"],
            {"rule": record["settings"]["rule"], "jobs": 0, "seconds": 0.0, "longest": 0.0, "devices": set()},
        )
        row["jobs"] += 1
        row["seconds"] += record["wall_seconds"]
        row["longest"] = max(row["longest"], record["wall_seconds"])
        row["devices"].add(f"{record['device']}, {record['threads']} thread{'s' if record['threads'] > 1 else ''}")
        finished.append(record["finished"])
        versions = {"jacobian-ensembles": record["package"], "Python": record["python"], **record["versions"]}
        facts.setdefault("Commit", set()).add(record["commit"] or NO_COMMIT)
        facts.setdefault("Versions", set()).add(", ".join(f"{k} {v}" for k, v in versions.items() if v))
        facts.setdefault("Platform", set()).add(record["platform"])
    if finished:
        facts["First and last job finished"] = {min(finished), max(finished)}
    order = [{**row, "devices": sorted(row["devices"])} for row in rows.values()]
    return order, {name: sorted(values) for name, values in facts.items()}


def jobs_in_sum(made: Mapping[str, Any]) -> tuple[list[dict[str, Any]], dict[str, list[str]]]:
    """The same of a shipped run, as far as its ``provenance.json`` goes: no single job's time, and no rule's device."""
    rows = [
        {"rule": rule, "jobs": jobs, "seconds": 3600 * made["hours"][rule], "longest": None, "devices": []}
        for rule, jobs in made["jobs"].items()
    ]
    titles = {"commit": "Commit", "device": "Device", "platform": "Platform"}
    facts = {title: [NO_COMMIT if value == "None" else value for value in made[key]] for key, title in titles.items()}
    names = {"package": "jacobian-ensembles", "python": "Python"}
    others = [key for key, value in made.items() if isinstance(value, list) and key not in titles]
    facts["Versions"] = [", ".join(f"{names.get(key, key)} {' and '.join(made[key])}" for key in others)]
    facts["First and last job finished"] = [made["first_finished"], made["last_finished"]]
    return rows, facts


def duration(seconds: float) -> str:
    """Seconds in a form for readers, such as ``3 min 20 s``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"
