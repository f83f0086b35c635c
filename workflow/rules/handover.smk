# What a run was started with travels to its jobs. A job on a cluster parses these files anew, perhaps hours after someone
# edited them: it uses the configuration that is handed over, and refuses code that the digests do not match.
import base64
import json
import os
import zlib

from snakemake.exceptions import WorkflowError

# the name under which another workflow imports this one; None for the workflow itself
imported_as = workflow.modifier.namespace
HANDOVER = "_".join(filter(None, ["JACOBIAN_ENSEMBLES_RUN", imported_as]))


def hand_over(config, digests):
    """Leave a configuration and the code's digests for the jobs of this run."""
    packed = zlib.compress(json.dumps([config, digests]).encode())
    os.environ[HANDOVER] = base64.b64encode(packed).decode()


def handed_over():
    """The configuration and the digests that the run of this job was started with."""
    got = os.environ.get(HANDOVER, "")
    try:
        config, digests = json.loads(zlib.decompress(base64.b64decode(got)))
    except (ValueError, zlib.error):
        found = f"{len(got)} characters that cannot be read" if got else "nothing"
        raise WorkflowError(
            f"This job does not know what its run was started with: the environment variable {HANDOVER} holds "
            f"{found}. Snakemake sets it where it is started; have the scheduler pass the environment on to jobs "
            "(sbatch: --export=ALL, qsub: -V), and start Snakemake again."
        ) from None
    return config, digests
