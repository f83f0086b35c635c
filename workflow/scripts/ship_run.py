"""Copy the small outputs of a finished run to where the repository keeps them."""

from pathlib import Path

import _job

with _job.running(snakemake):
    from jacobian_ensembles.runs.ship import ship_run

    ship_run(Path(snakemake.output.provenance).parent, snakemake.output.folder, snakemake.params.config)
