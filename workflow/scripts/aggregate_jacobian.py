"""Set the measured Jacobian norms beside the theorem's."""

import _job

with _job.running(snakemake):
    from jacobian_ensembles.stages.aggregate_jacobian import aggregate_jacobian

    aggregate_jacobian(
        snakemake.input.statistics,
        snakemake.output.table,
    )
