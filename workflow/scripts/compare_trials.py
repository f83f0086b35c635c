"""Gather the training trials in one table."""

import _job

with _job.running(snakemake):
    from jacobian_ensembles.stages.compare_trials import compare_trials

    compare_trials(snakemake.input.records, snakemake.output.table)
