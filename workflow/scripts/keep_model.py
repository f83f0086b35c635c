"""Keep one trained ensemble of a run, as it is."""

from pathlib import Path

import _job

with _job.running(snakemake):
    from jacobian_ensembles.storage.files import write_bytes

    write_bytes(snakemake.output.model, Path(snakemake.input.ensemble).read_bytes())
