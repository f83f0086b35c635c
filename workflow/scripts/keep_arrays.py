"""Keep the bits or the worst perturbations of a run's models on one dataset."""

import _job

with _job.running(snakemake):
    from jacobian_ensembles.stages.keep_arrays import keep_arrays

    keep_arrays(
        snakemake.wildcards.what, snakemake.input.get("clean", []), snakemake.input.uaps, snakemake.output.arrays
    )
