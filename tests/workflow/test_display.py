"""What a run shows on the terminal and in a pipe."""

import io
import logging
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from snakemake.logging import ColorizingTextHandler, DefaultFormatter

from conftest import ROOT
from jacobian_ensembles.engine.compiling import COMPILING

sys.path.insert(0, str(ROOT / "workflow" / "rules"))

import run_display
from run_plan import Plan

STATS = {"train": 4, "craft": 2, "all": 1, "total": 7}


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """The time that the display sees; ``clock.now`` moves it."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(run_display.time, "monotonic", lambda: clock.now)
    return clock


def display(stream):
    shown = run_display.Display(ColorizingTextHandler(stream=stream, formatter=DefaultFormatter()))
    say(shown, "run_info", msg="Job stats: ...", stats=STATS)
    return shown


def say(shown, event, msg="", **fields):
    """Have Snakemake's logger say something."""
    record = logging.makeLogRecord({"msg": msg, "levelno": logging.INFO, "levelname": "INFO", "event": event} | fields)
    shown.handle(record)


def run_job(shown, clock, jobid, rule, seconds):
    say(shown, "job_info", jobid=jobid, rule_name=rule)
    clock.now += seconds
    say(shown, "job_finished", job_id=jobid)
    say(shown, "progress", done=jobid, total=7)


def test_one_line_on_a_terminal_says_what_is_done_what_runs_and_how_long_it_takes(clock):
    stream = Terminal()
    shown = display(stream)
    for jobid in range(1, 5):
        run_job(shown, clock, jobid, "train", 10)
    assert "left" not in stream.getvalue()  # four jobs, all of one rule, tell nothing of the rest
    run_job(shown, clock, 5, "craft", 100)
    say(shown, "job_info", jobid=6, rule_name="craft")
    line = stream.getvalue().split("\r")[-2]
    # one more crafting of 100 s, and a job of no known rule: (4 x 10 + 100) / 5 = 28 s
    assert line == "\033[K[##############......] 5 of 7 jobs done, about 2 min left; running: craft"
    clock.now += 90
    # what the running job has done counts, and the mean number of jobs at a time stays one
    assert shown.seconds_left() == pytest.approx(38)
    assert stream.getvalue().count("\n") == 1  # the job table's


def test_in_a_pipe_nothing_is_said_of_single_jobs(clock):
    stream = io.StringIO()
    shown = display(stream)
    for jobid in range(1, 8):
        run_job(shown, clock, jobid, "train", 50)
    say(shown, None, "Select jobs to execute...")
    say(shown, None, "Something else")
    shown.close()
    shown.close()
    assert stream.getvalue() == "Job stats: ...\nSomething else\n7 of 7 jobs done, in 6 min\n"


def test_a_failure_shows_the_end_of_its_log(clock, tmp_path):
    log = tmp_path / "craft.log"
    log.write_text("\n".join(f"line {i}" for i in range(30)) + "\nValueError: no\n")
    stream = io.StringIO()
    shown = display(stream)
    say(shown, "job_info", jobid=1, rule_name="craft")
    fields = {"output": ["uaps", "record"], "log": [str(log)], "rule_msg": None, "aux": {}, "indent": False}
    say(shown, "job_error", jobid=1, rule_name="craft", **fields)
    shown.close()
    lines = stream.getvalue().splitlines()[1:]
    assert lines[:3] == ["craft failed: uaps", f"  the end of its log, {log}:", "    line 19"]
    assert lines[-2:] == ["    ValueError: no", "0 of 7 jobs done, 1 failed, in 0 s"]


def test_of_a_failed_submission_the_job_to_blame_is_shown(clock, tmp_path):
    logs, outputs = ([tmp_path / f"{name}.{kind}" for name in "abc"] for kind in ("log", "out"))
    for path in (logs[0], outputs[0], logs[1]):  # a is done, b began, c was not reached
        path.write_text(path.name)
    stream = io.StringIO()
    shown = display(stream)
    say(shown, "group_error", aux_logs=[], job_error_info=[1, 2, 3], external_jobid="77")
    for i, name in enumerate("abc"):
        fields = {"rule_msg": None, "aux": {"external_jobid": "77"}, "indent": True}
        say(shown, "job_error", jobid=i, rule_name=name, output=[str(outputs[i])], log=[str(logs[i])], **fields)
    shown.close()
    assert stream.getvalue().splitlines()[1:] == [
        "A submission of 3 jobs failed (job 77 of the cluster).",
        f"b failed (job 77 of the cluster): {outputs[1]}",
        f"  the end of its log, {logs[1]}:",
        "    b.log",
        "0 of 7 jobs done, 1 failed, in 0 s",
    ]


def test_records_that_it_does_not_understand_leave_the_terminal_to_snakemake(clock):
    stream = io.StringIO()
    shown = display(stream)
    logger = logging.getLogger("snakemake.logging")
    logger.addHandler(shown)
    try:
        say(shown, "progress", "3 of 7", finished=3)
        assert shown not in logger.handlers
        assert shown.snakemakes in logger.handlers
    finally:
        logger.removeHandler(shown.snakemakes)


def test_compiling_is_said_while_it_lasts(clock, tmp_path):
    log = tmp_path / "train.log"
    shown = display(io.StringIO())
    say(shown, "job_info", jobid=1, rule_name="train", log=[str(log)])
    assert shown.state().endswith("running: train")
    log.write_text(f"12:00:00 {COMPILING}\n")
    assert shown.state().endswith("running: train, compiling once")
    log.write_text(f"12:00:00 {COMPILING}\n12:00:30 epoch 1\n")
    assert shown.state().endswith("running: train")


def test_who_stops_a_run_is_told_what_is_kept_and_not_of_the_jobs_that_were_killed(clock):
    stream = io.StringIO()
    shown = display(stream)
    run_job(shown, clock, 1, "train", 10)
    say(shown, None, "Terminating processes on user request, this might take some time.")
    say(shown, "job_error", jobid=2, rule_name="train", output=["net"], log=[], rule_msg=None, aux={}, indent=False)
    say(shown, None, "At least one job did not complete successfully.")
    shown.close()
    assert stream.getvalue().splitlines()[1:] == ["Stopped: 1 of 7 done and kept; run the same command to go on"]


def planned(stream, folder, cores, *jobs):
    """A dry run of these jobs: rule, members, benchmark, threads."""
    plan = Plan(ColorizingTextHandler(stream=stream, formatter=DefaultFormatter()), folder, cores)
    for rule, members, benchmark, threads in jobs:
        wildcards = {"members": members} if members else None
        say(plan, "job_info", rule_name=rule, wildcards=wildcards, benchmark=benchmark, threads=threads)
    say(plan, "run_info", msg="Job stats: ...", stats=STATS)
    say(plan, None, "Reasons:\n    (check individual jobs above for details)")
    plan.close()
    plan.close()
    return stream.getvalue().splitlines()


def test_a_dry_run_ends_with_a_plan(tmp_path):
    folder = tmp_path / "mine"
    jobs = [("train_learner", None, f"{folder}/benchmarks/learners/a/0.tsv", 1),
            ("train_together", "3", f"{folder}/benchmarks/learners/a/M3.tsv", 1),
            ("craft_uaps", "3", f"{folder}/benchmarks/uaps/b.tsv", 2), ("all", None, None, 1)]  # fmt: skip
    lines = planned(io.StringIO(), folder, 4, *jobs)
    assert lines == [
        f"Plan of {folder}: 4 jobs. A dry run computes nothing.", "  networks to train: 4",
        "  sets of universal perturbations to craft: 1", "  other jobs: 1",
        "  time: not known, for no earlier run has left the times of such jobs here",
        "Paths and reasons of every job: add -p",
    ]  # fmt: skip
    for name, seconds in (("learners/x/1", 30), ("learners/x/2", 90), ("uaps/y/3", 1800)):
        path = tmp_path / f"other/benchmarks/{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"s\th:m:s\n{seconds}\t-\n")
    (path.parent / "killed.tsv").touch()
    # two trainings of 60 s, and a crafting of 1,800 s on two threads
    time = f"  time: about 1 h 2 min of one core, 16 min on 4, at the pace of other runs in {tmp_path}"
    assert planned(io.StringIO(), folder, 4, *jobs)[4] == time
    (tmp_path / "other").rename(folder)
    (last,) = [line for line in planned(io.StringIO(), folder, None, *jobs) if "time" in line]
    assert last == "  time: about 1 h 2 min of one core, at the pace of its earlier jobs"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (61, "1 min"), (3599, "1 h 0 min"), (7800, "2 h 10 min")]
)
def test_a_duration_is_said_as_a_person_would(seconds, text):
    assert run_display.duration(seconds) == text


@pytest.mark.workflow
def test_a_run_on_a_terminal_has_one_line_and_with_verbose_snakemakes_own(smoke, tmp_path):
    repo = smoke.copy(tmp_path / "copy")
    target = "results/smoke/tables/table1.tex"

    def on_terminal(*options):
        (repo.path / target).unlink()
        parent, child = os.openpty()
        command = [sys.executable, "-m", "snakemake", target, "--cores", "1", *options, "--configfile", repo.configfile]
        process = subprocess.Popen(command, cwd=repo.path, stdout=child, stderr=child)
        os.close(child)
        output = b""
        try:
            while chunk := os.read(parent, 4096):
                output += chunk
        except OSError:  # how Linux says that the other end is closed
            pass
        assert process.wait() == 0, output
        os.close(parent)
        return output.decode()

    output = on_terminal()
    assert "\r\033[K[....................] 0 of 1 jobs done; running: write_latex_table\r" in output
    assert "1 of 1 jobs done, in" in output
    assert "Write table table1" not in output
    assert "Write table table1" in max((repo.path / ".snakemake/log").iterdir()).read_text()
    assert "Write table table1" in on_terminal("--verbose")


@pytest.mark.parametrize(
    ("words", "missing"),
    [
        (["--configfile", "nope.yaml"], "nope.yaml"),
        (["metrics", "--configfile=nope.yaml", "-n"], "nope.yaml"),
        (["--configfile", "workflow/presets/smoke.yaml", "nope.yaml", "-n"], "nope.yaml"),
        (["--configfile", "workflow/presets/smoke.yaml", "metrics"], "metrics"),
        (["--configfile", "workflow/presets"], "workflow/presets"),
    ],
)
def test_a_configuration_file_that_is_missing_is_said_to_be_missing(repository, words, missing):
    output = repository.snakemake(*words, check=False)
    assert output.splitlines()[-1].startswith(f"{missing}: there is no such file, and --configfile names it.")
    assert "Traceback" not in output
    assert len(output.splitlines()) == 2  # the other is Snakemake's, about its profile
