"""Measure exact Jacobian norms of one ensemble and its learners."""

import _job

with _job.running(snakemake) as device:
    from jacobian_ensembles.stages.measure_jacobian import measure_jacobian

    measure_jacobian(
        _job.ensemble(snakemake),
        _job.images(snakemake),
        snakemake.output.statistics,
        cell=_job.cell(snakemake.wildcards),
        device=device,
    )
