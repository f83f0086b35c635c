"""Draw the figures and tables of a shipped run anew."""

from pathlib import Path

import _job

with _job.running(snakemake):
    from jacobian_ensembles.runs.ship import rebuild_run

    rebuild_run(Path(snakemake.input.config).parent, snakemake.output.folder)
