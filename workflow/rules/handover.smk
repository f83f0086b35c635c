# What a run was started with travels to its jobs. A job on a cluster parses these files anew, perhaps hours after someone
# edited them: it uses the configuration that is handed over, and refuses code that the digests do not match.
import base64
import hashlib
import json
import os
import zlib

from snakemake.exceptions import WorkflowError
from snakemake.settings.types import SharedFSUsage

# the name under which another workflow imports this one; None for the workflow itself
imported_as = workflow.modifier.namespace
# names a file, as the system limits how long a variable may be; or, for jobs that do not see our files, holds its content
INLINE, LONGEST = "zlib:", 100_000
HANDOVER = "_".join(filter(None, ["JACOBIAN_ENSEMBLES_RUN", imported_as]))


def hand_over(config, digests, started):
    """Leave a configuration, the code's digests and what else was true at the start for the jobs of this run."""
    content = json.dumps([config, digests, started]).encode()
    if SharedFSUsage.PERSISTENCE not in workflow.storage_settings.shared_fs_usage:
        packed = base64.b64encode(zlib.compress(content)).decode()
        if len(packed) > LONGEST:
            raise WorkflowError(
                f"Jobs that do not see .snakemake get the configuration in an environment variable, of at most {LONGEST:,} "
                f"characters. Got {len(packed):,}: list fewer models under grid.cells, or let jobs see it "
                "(--shared-fs-usage persistence)."
            )
        os.environ[HANDOVER] = INLINE + packed
        return
    name = f"{hashlib.sha256(content).hexdigest()}.json"
    path = Path(".snakemake/jacobian-ensembles/runs", name)
    os.environ[HANDOVER] = str(path)
    if (
        workflow.output_settings.dryrun
        or path.is_file()
        and path.read_bytes() == content
    ):
        return
    temporary = path.with_suffix(f".{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        raise WorkflowError(
            f"{path.absolute()}: cannot be written ({error.strerror}). Jobs learn from it what their run was started with."
        ) from None


def handed_over():
    """What was handed over when the run of this job was started."""
    got = os.environ.get(HANDOVER)
    if not got:
        raise WorkflowError(
            f"This job does not know what its run was started with: the environment variable {HANDOVER} holds nothing. "
            "Snakemake sets it where it is started; have the scheduler pass the environment on to jobs "
            "(sbatch: --export=ALL, qsub: -V), and start Snakemake again."
        )
    if got.startswith(INLINE):
        try:
            packed = base64.b64decode(got.removeprefix(INLINE))
            return json.loads(zlib.decompress(packed))
        except (ValueError, zlib.error):
            raise WorkflowError(
                f"This job does not know what its run was started with: the environment variable {HANDOVER} was changed or "
                "cut off. Start Snakemake again."
            ) from None
    try:
        content = Path(got).read_bytes()
    except OSError as error:
        content, what = b"", f"cannot be read ({error.strerror})"
    else:
        what = "was changed or cut off"
    if hashlib.sha256(content).hexdigest() != Path(got).stem:
        raise WorkflowError(
            f"This job does not know what its run was started with: {Path(got).absolute()} {what}. Start Snakemake again."
        )
    return json.loads(content)
