"""What a dry run shows: Snakemake's table of jobs, then a plan in place of every job's paths."""

import logging
import shlex
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from run_display import SILENT, duration

TRAINED = {"train_learner", "train_together", "train_trial"}
CRAFTED = {"craft_uaps", "craft_variant"}
#: What Snakemake says after a dry run that the plan says, or that needs the jobs' own lines.
UNSAID = ("This was a dry-run", "Reasons:")
DRY = {"-n", "--dry-run", "--dryrun"}


def seconds_in(benchmarks: Path) -> dict[str, list[float]]:
    """How long jobs took, in seconds, by the folder of a run's benchmarks that they wrote to."""
    found = defaultdict(list)
    for path in benchmarks.rglob("*.tsv"):
        with suppress(OSError, ValueError, IndexError):  # a file of a job that was killed
            found[path.relative_to(benchmarks).parts[0]].append(float(path.read_text().splitlines()[1].split("\t")[0]))
    return dict(found)


class Plan(logging.Handler):
    """Stands in front of Snakemake's own terminal handler in a dry run, and adds the jobs up.

    Args:
        snakemakes: That handler.
        folder: The run's.
        cores: How many the run would use; None where it was not asked.
        dated: Counts the planned jobs that only the dates of their files call for.
    """

    def __init__(self, snakemakes: Any, folder: Path, cores: int | None, dated: Callable[[], int] = lambda: 0) -> None:
        super().__init__()
        self.snakemakes, self.folder, self.cores, self.dated = snakemakes, folder, cores, dated
        self.jobs: Counter[str] = Counter()  # by rule
        self.networks = 0
        self.work: list[tuple[str, int]] = []  # the folder of a job's benchmark, and its threads
        self.said = False

    def emit(self, record: Any) -> None:
        """Count a job; hand on the rest."""
        event = getattr(record, "event", None)
        if event == "job_info":
            self._count(record)
        elif event == "run_info":
            if not self.jobs:  # it comes again after the jobs
                self.snakemakes.handle(record)
        elif event not in SILENT and not record.getMessage().startswith(UNSAID):
            self.snakemakes.handle(record)

    def close(self) -> None:
        """Print the plan."""
        if self.jobs and not self.said:
            self.said = True
            self.snakemakes.stream.write("\n".join(self.lines()) + "\n")
            self.snakemakes.stream.flush()
        super().close()

    def lines(self) -> list[str]:
        """The plan."""
        crafted = sum(self.jobs[rule] for rule in CRAFTED)
        rest = self.jobs.total() - sum(self.jobs[rule] for rule in TRAINED | CRAFTED)
        told = [f"Plan of {self.folder}: {self.jobs.total()} jobs. A dry run computes nothing."]
        if self.networks:
            told.append(f"  networks to train: {self.networks}")
        if crafted:
            told.append(f"  sets of universal perturbations to craft: {crafted}")
        told += [f"  other jobs: {rest}", f"  time: {self.time()}"]
        if dated := self.dated():
            told.append(f"  planned for the dates of files alone, which have their checksums: {dated}")
        if dated == self.jobs.total():
            command = ["snakemake", "--touch", *(given for given in sys.argv[1:] if given not in DRY)]
            told.append(f"All results are what this run would make. To take them as they are: {shlex.join(command)}")
        return [*told, "Paths and reasons of every job: add -p"]

    def time(self) -> str:
        """About how long, at the pace of earlier jobs: this run's own where it has some, else those of other runs."""
        own, others = seconds_in(self.folder / "benchmarks"), defaultdict(list)
        for benchmarks in sorted(self.folder.parent.glob("*/benchmarks")):
            if benchmarks.parent != self.folder and set(dict(self.work)) - set(own):
                for stage, seconds in seconds_in(benchmarks).items():
                    others[stage] += seconds
        pace = {stage: sum(seconds) / len(seconds) for stage, seconds in {**others, **own}.items()}
        known = [(pace[stage], threads) for stage, threads in self.work if stage in pace]
        if len(known) < len(self.work) / 2:
            return "not known, for no earlier run has left the times of such jobs here"
        scale = len(self.work) / len(known)  # the few without a pace take as long as the rest
        of_one = scale * sum(seconds * threads for seconds, threads in known)
        text = f"about {duration(of_one)} of one core"
        if self.cores and self.cores > 1:
            text += f", {duration(of_one / self.cores)} on {self.cores}"
        borrowed = set(dict(self.work)) & set(others) - set(own)
        whose = f"other runs in {self.folder.parent}" if borrowed else "its earlier jobs"
        return f"{text}, at the pace of {whose}"

    def _count(self, record: Any) -> None:
        self.jobs[record.rule_name] += 1
        if record.rule_name in TRAINED:
            self.networks += int((record.wildcards or {}).get("members", 1))
        if record.benchmark:
            inside = Path(str(record.benchmark).partition("/benchmarks/")[2])
            self.work.append((inside.parts[0], record.threads))
