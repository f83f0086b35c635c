"""Tabulate the expected worst case against the number of attack seeds."""

import _job

with _job.running(snakemake):
    from jacobian_ensembles.stages.tabulate_worst_of_k import tabulate_worst_of_k

    tabulate_worst_of_k(
        snakemake.input.records,
        snakemake.output.table,
        snakemake.params.confidence,
    )
