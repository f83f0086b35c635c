"""Gather what the attacks on single members found."""

import _job

with _job.running(snakemake):
    from jacobian_ensembles.stages.attack_members import gather_members

    gather_members(snakemake.input.records, snakemake.output.table)
