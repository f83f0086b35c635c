"""What a run shows: how many jobs are done, what runs, how long the rest may take.

On a terminal that is one changing line, elsewhere a line now and then. What Snakemake says about each job goes only to
``.snakemake/log``, what a job says to its own log; for a failed job, the end of its log is shown.
"""

import logging
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from snakemake.logging import logger

SILENT = {"job_started", "group_info", "resources_info", "shellcmd"}  # Snakemake's names for events
CHATTER = {"Select jobs to execute..."}  # has no event of its own
STOPPING = "Terminating processes on user request"
COMPILING = "Compiling the engine, once on this machine."  # what a job logs (jacobian_ensembles/engine/compiling.py)
LAST_LINES = 12


def duration(seconds: float) -> str:
    """Seconds as a person would say them: 40 s, 5 min, 2 h 10 min."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def last_line(log: Path) -> str:
    """The last line of a job's log so far."""
    with suppress(OSError, IndexError):
        return log.read_text(errors="replace").splitlines()[-1]
    return ""


def failure(record: Any) -> str:
    """What to say about a failed job, or a failed submission of several: what it was, and how its logs end."""
    submitted = getattr(record, "external_jobid", None) or getattr(record, "aux", {}).get("external_jobid")
    of_cluster = f" (job {submitted} of the cluster)" if submitted else ""
    if record.event == "group_error":
        lines = [f"A submission of {len(record.job_error_info)} jobs failed{of_cluster}."]
        logs = record.aux_logs
    else:
        lines = [f"{record.rule_name} failed{of_cluster}: {record.output[0]}"]
        lines += [f"  {record.rule_msg}"] if record.rule_msg else []
        logs = record.log
    for log in map(Path, logs):
        with suppress(OSError):
            end = log.read_text(errors="replace").splitlines()[-LAST_LINES:]
            lines += [f"  the end of its log, {log}:", *(f"    {line}" for line in end)]
    return "\n".join(lines)


class Display(logging.Handler):
    """Stands in front of Snakemake's own terminal handler, and lets through what is not about single jobs."""

    def __init__(self, snakemakes: Any) -> None:
        super().__init__()
        self.snakemakes = snakemakes
        self.stream = snakemakes.stream
        self.live = self.stream.isatty()
        self.planned: Counter[str] = Counter()  # jobs by rule
        self.finished: Counter[str] = Counter()
        self.seconds: Counter[str] = Counter()  # taken by the finished ones
        self.running: dict[int, tuple[str, float]] = {}  # job: its rule, and when it started
        self.logs: dict[int, Path] = {}  # of what runs
        self.done = self.total = self.failed = 0
        self.stopping = False  # on the user's request: jobs that it kills have not failed
        self.began = time.monotonic()
        self.over = threading.Event()

    def emit(self, record: Any) -> None:
        """Count what is about a job, and hand on the rest; if a record is not as expected, give the terminal back."""
        try:
            self._take(record)
        except (AttributeError, TypeError, ValueError):  # Snakemake's records of jobs are no public interface
            self.over.set()
            logger.removeHandler(self)
            logger.addHandler(self.snakemakes)
            self.snakemakes.handle(record)

    def close(self) -> None:
        """Say how it ended."""
        with self.lock:
            if self.total and not self.over.is_set():
                self.over.set()
                self._print(self.ending())
        super().close()

    def ending(self) -> str:
        """One line: how the run ended."""
        if self.stopping:
            return f"Stopped: {self.done} of {self.total} done and kept; run the same command to go on"
        failed = f", {self.failed} failed" if self.failed else ""
        return f"{self.done} of {self.total} jobs done{failed}, in {duration(time.monotonic() - self.began)}"

    def state(self) -> str:
        """One line: jobs done, time left, what runs."""
        text = f"{self.done} of {self.total} jobs done"
        if self.failed:
            text += f", {self.failed} failed"
        if (left := self.seconds_left()) is not None:
            text += f", about {duration(left)} left"
        running = Counter(rule for rule, _ in self.running.values())
        names = [f"{rule} ({n})" if n > 1 else rule for rule, n in running.items()]
        if any(last_line(self.logs[job]).endswith(COMPILING) for job in self.running if job in self.logs):
            names.append("compiling once")
        return f"{text}; running: {', '.join(names)}" if names else text

    def seconds_left(self) -> float | None:
        """The time for the rest, if each rule's jobs take as long as before; None while that is a guess."""
        now = time.monotonic()
        count = self.finished.total()
        if now - self.began < 20 or count < 5:
            return None
        spent = self.seconds.total()
        begun = sum(now - since for _, since in self.running.values())
        at_a_time = max(spent + begun, 1e-9) / (now - self.began)
        work = sum(
            jobs * (self.seconds[rule] / self.finished[rule] if self.finished[rule] else spent / count)
            for rule, jobs in (self.planned - self.finished).items()
        )
        return max(work - begun, 0) / at_a_time

    def _take(self, record: Any) -> None:
        event = getattr(record, "event", None)
        if event in SILENT or record.getMessage() in CHATTER:
            return
        if self.stopping and event != "progress":
            return
        if record.getMessage().startswith(STOPPING):
            self.stopping = True
            return
        if event == "job_info":
            self.running[record.jobid] = (record.rule_name, time.monotonic())
            if log := getattr(record, "log", ()):
                self.logs[record.jobid] = Path(log[0])
        elif event == "job_finished":
            rule, since = self.running.pop(record.job_id, ("", 0.0))
            if rule:
                self.finished[rule] += 1
                self.seconds[rule] += time.monotonic() - since
        elif event == "progress":
            self.done, self.total = record.done, record.total
        elif event in ("job_error", "group_error"):
            self._fail(record)
        else:
            self._print(end="")
            self.snakemakes.handle(record)
        if event == "run_info":
            self.planned.update(record.stats)
            self.total = self.planned.pop("total", 0)
            self.began = time.monotonic()
            threading.Thread(target=self._keep_drawing, daemon=True).start()
        if self.live:
            self._draw()

    def _fail(self, record: Any) -> None:
        if record.event == "job_error":
            self.running.pop(record.jobid, None)
            # all jobs of a failed submission are reported; the one to blame began and left nothing
            began = any(Path(log).exists() for log in record.log)
            if record.indent and (not began or Path(record.output[0]).exists()):
                return
            self.failed += 1
        self._print(failure(record))

    def _keep_drawing(self) -> None:
        while not self.over.wait(1 if self.live else 30):
            with self.lock:
                self._draw()

    def _draw(self) -> None:
        if not self.total or self.over.is_set():
            return
        if self.live:
            filled = 20 * self.done // self.total
            line = f"[{'#' * filled}{'.' * (20 - filled)}] {self.state()}"
            # the cursor waits at the left: what a library writes does not lengthen the line
            self._print(line[: shutil.get_terminal_size().columns - 1], end="\r")
        else:
            self._print(f"{time.strftime('%H:%M:%S')} {self.state()}")

    def _print(self, text: str = "", end: str = "\n") -> None:
        clear = "\r\033[K" if self.live else ""
        self.stream.write(f"{clear}{text}{end}")
        self.stream.flush()


def put_on_display(settings: Any, show: Callable[[Any], logging.Handler]) -> None:
    """Put what ``show`` makes of Snakemake's terminal handler in its place.

    Not if the user asks for something else: --quiet, --verbose, --printshellcmds, --logger.
    """
    own = [handler for handler in logger.handlers if handler.name == "DefaultStreamHandler"]
    if own and not (settings.quiet or settings.verbose or settings.printshellcmds):
        logger.removeHandler(own[0])
        logger.addHandler(show(own[0]))
