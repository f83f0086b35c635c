"""Gather what an attack counted on every model of a run."""

import _job

with _job.running(snakemake):
    from jacobian_ensembles.stages.gather_records import gather_records

    gather_records(
        snakemake.input.clean,
        snakemake.input.worst,
        snakemake.output.records,
        snakemake.input.get("certified", ()),
    )
