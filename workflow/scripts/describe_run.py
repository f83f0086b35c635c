"""Write the settings of a finished run, and what made it."""

import _job

with _job.running(snakemake):
    from jacobian_ensembles.stages.describe_run import describe_run

    describe_run(snakemake.params.config, snakemake.input.provenance, snakemake.output.config, snakemake.output.made)
