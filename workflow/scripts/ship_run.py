"""Copy the kept part of a finished run to where the repository keeps it."""

from pathlib import Path

import _job

with _job.running(snakemake):
    from jacobian_ensembles.runs.ship import ship_run

    folder = Path(snakemake.input.run).parent
    ship_run(folder, Path(snakemake.output.checksums).parent, [*snakemake.input])
