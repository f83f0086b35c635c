# A stopgap: keeps Snakemake's scheduler from spinning.
#
# The fault: with its default limit of 100 job starts per second, Snakemake sets a timer whenever it has looked for startable
# jobs, JobScheduler._schedule_reevalutation, without asking whether one is set already. Each finished job causes a look
# of its own, so each adds a chain of looks that never ends: after 300 jobs it looked all the time, which took almost half
# a core. Seen in 9.10 to 9.27; no option switches it off. Upstream: pull request snakemake/snakemake#3744, open.
#
# Remove it when the oldest Snakemake allowed (min_version in the Snakefile) asks first.
#
# And a saving: planning, Snakemake opens the script of every job, which was an eighth of the time for 1,000 models. A
# rule's script, whose path has no wildcards, is the same for all its jobs (tests/workflow/test_policy.py).
import threading
import time

from snakemake import dag
from snakemake.logging import logger

try:
    from snakemake.scheduling.job_scheduler import JobScheduler
except ImportError:
    JobScheduler = None


def look_again(scheduler, delay):
    """Have Snakemake look for startable jobs in ``delay`` seconds, unless it will have looked by then anyway."""
    now = time.monotonic()
    if now < getattr(scheduler, "next_look", now) <= now + delay:
        return
    scheduler.next_look = now + delay
    timer = threading.Timer(delay, scheduler._open_jobs.release)
    timer.daemon = True
    timer.start()


# only if what look_again replaces and uses exists
if (
    hasattr(JobScheduler, "_schedule_reevalutation")
    and "_open_jobs" in JobScheduler.__init__.__code__.co_names
):
    JobScheduler._schedule_reevalutation = look_again
else:
    logger.warning(
        "This Snakemake has no JobScheduler._schedule_reevalutation as workflow/rules/scheduler.smk knows it. Everything "
        "runs; if Snakemake's own process takes more and more CPU time in a long run, say so in an issue."
    )


def once_per_rule(look):
    """Look at the script of one job of each rule."""

    def process_job(processor, job):
        seen, kind = vars(processor).setdefault("seen_rules", set()), job.rule
        if kind not in seen:
            look(processor, job)
            seen.add(kind)

    return process_job


# not where another workflow, whose scripts may have wildcards, imports this one
if not imported_as and "process_job" in vars(getattr(dag, "ScriptProcessor", object)):
    dag.ScriptProcessor.process_job = once_per_rule(dag.ScriptProcessor.process_job)
