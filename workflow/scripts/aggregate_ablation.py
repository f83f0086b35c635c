"""Compare variants of the attack."""

import _job

with _job.running(snakemake):
    from jacobian_ensembles.stages.aggregate_ablation import aggregate_ablation

    aggregate_ablation(
        snakemake.input.metrics,
        snakemake.input.records,
        snakemake.params.variants,
        snakemake.output.table,
        snakemake.params.peers,
    )
