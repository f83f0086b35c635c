# What Snakemake does not remember. In .snakemake it keeps by path how each result was made; a result without such a record
# (a copied, deleted or damaged .snakemake, another spelling of the folder) it takes as it is. The provenance beside each
# result knows, too: what it says otherwise is refused here.
import json
import os
import shlex
import sys

from snakemake import persistence
from snakemake.exceptions import WorkflowError
from snakemake.io import is_flagged
from snakemake.logging import logger

from jacobian_ensembles.runs.provenance import disagreement, inputs_of_job
from jacobian_ensembles.storage.checksums import verify_checksum

# Snakemake's words for jobs that a date calls for: copied files are as old as the copy
DATES = {"updated input files", "input files updated by another job"}
MEMORY = getattr(persistence, "PersistenceBase", None) or persistence.Persistence
unread = set()


def otherwise(job):
    """How the existing results of a job were made otherwise than it would make them; None if they were not."""
    if "provenance" not in job.output.keys() or not job.params:
        return None
    results = [path for path in job.output if path != job.output.provenance]
    if not any(map(os.path.exists, results)):
        return None
    # a shipped run that came with the clone: its job, which replaces it as a whole, has not run here
    if not os.path.exists(job.output.provenance) and all(
        is_flagged(path, "update") for path in results
    ):
        return None
    settings = {"rule": job.rule.name, **dict(job.wildcards), **dict(job.params)}
    return disagreement(
        job.output.provenance,
        json.loads(json.dumps(settings)),
        inputs_of_job(paths.root, job.input),
    )


def unaltered(job):
    """Whether the results of a job are the bytes that it left."""
    try:
        for path in job.output:
            verify_checksum(path)
    except ValueError:
        return False
    return True


def dated(dag):
    """The planned jobs that dates alone call for: their results are there, and what this run would make."""
    found = set()
    for job in (job for level in dag.toposorted() for job in level):
        reasons = set(dag.reason(job).get_names())
        planned = {
            at for at in dag.dependencies[job] if any(dag.reason(at).get_names())
        }
        if reasons and reasons <= DATES and planned <= found:
            if not otherwise(job) and unaltered(job):
                found.add(job)
    return found


def first_of(jobs, dag):
    """Those of some jobs that depend on no other of them."""
    first, after = [], set()
    for job in (job for level in dag.toposorted() for job in level):
        behind = not after.isdisjoint(dag.dependencies[job])
        if job in jobs and not behind:
            first.append(job)
        if job in jobs or behind:
            after.add(job)
    return first


def refused(jobs, dag):
    """Say which results are not what is asked for, and what makes them anew."""
    first = first_of(jobs, dag)
    told = [f"{job.output[0]}: {jobs[job]}" for job in first[:3]]
    anew = dict.fromkeys(job.output[0] for job in first)
    if len(anew) > 10:
        anew = dict.fromkeys(job.rule.name for job in first)
    given = sys.argv[1:]
    end = given.index("--") if "--" in given else len(given)
    command = ["snakemake", *given[:end], "--forcerun", *anew, *given[end:]]
    return WorkflowError(
        f"Snakemake has no record of how {len(jobs)} jobs made what is in {paths.root}, and their provenance says: not as "
        f"this run would. For example:\n"
        + "\n".join(told)
        + "\nGive this run another run.name to keep them, or have "
        f"them made anew:\n{shlex.join(command)}"
    )


def remembering(read):
    """A damaged record is none."""

    def metadata(memory, target):
        try:
            return read(memory, target)
        except Exception as error:
            if str(target) not in unread:
                unread.add(str(target))
                logger.warning(
                    f"Snakemake's record of {target} is damaged: {type(error).__name__}"
                )
            return None

    return metadata


def agreeing(known):
    """Where there is no record, the provenance decides."""

    def has_metadata(memory, job):
        if known(memory, job):
            return True
        # by the user's word (--touch, --rerun-triggers mtime), results are taken as they are
        if workflow.touch or "params" not in map(str, workflow.rerun_triggers):
            return False
        if otherwise(job):
            dag = memory.dag
            forced = {
                job
                for job in dag.jobs
                if job.rule in dag.forcerules
                or not dag.forcefiles.isdisjoint(job.output)
            }
            found = {
                job: reason
                for job in dag.jobs
                if job not in forced
                and not known(memory, job)
                and (reason := otherwise(job))
            }
            raise refused(found, dag)
        return False

    return has_metadata


if workflow.is_main_process:
    MEMORY.metadata = remembering(MEMORY.metadata)
    MEMORY.has_metadata = agreeing(MEMORY.has_metadata)
