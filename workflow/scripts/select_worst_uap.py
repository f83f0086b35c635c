"""Choose the worst perturbation of one ensemble and eps over all attack seeds."""

import _job

with _job.running(snakemake):
    from jacobian_ensembles.stages.select_worst_uap import select_worst_uap

    select_worst_uap(snakemake.input.uaps, snakemake.output.record, snakemake.output.uap)
