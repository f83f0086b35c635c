"""Compare variants of the attack."""

import _job

with _job.running(snakemake):
    from jacobian_ensembles.stages.aggregate_ablation import aggregate_ablation

    aggregate_ablation(
        dict(zip(snakemake.params.variants, snakemake.input.records, strict=True)),
        snakemake.output.table,
        snakemake.params.confidence,
        snakemake.params.peers,
    )
