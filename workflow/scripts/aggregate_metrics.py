"""Derive the two tables that everything reads from the records of a run."""

import _job

with _job.running(snakemake):
    from jacobian_ensembles.stages.aggregate_metrics import aggregate_metrics

    aggregate_metrics(
        snakemake.input.records,
        snakemake.output.metrics,
        snakemake.output.summary,
        snakemake.params.clean_weight,
        snakemake.params.confidence,
    )
