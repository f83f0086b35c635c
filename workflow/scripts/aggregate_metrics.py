"""Gather every record of the run into two tables."""

import _job

with _job.running(snakemake):
    from jacobian_ensembles.stages.aggregate_metrics import aggregate_metrics

    aggregate_metrics(
        snakemake.input.clean,
        snakemake.input.worst,
        snakemake.output.metrics,
        snakemake.output.summary,
        snakemake.params.clean_weight,
        snakemake.params.confidence,
    )
