"""Measure exact Jacobian norms of one ensemble and its learners."""

import _job

with _job.running(snakemake) as device:
    from jacobian_ensembles.stages.measure_jacobian import measure_to_file

    measure_to_file(
        snakemake.input.ensemble,
        snakemake.input.dataset,
        snakemake.output.statistics,
        cell=_job.cell(snakemake.wildcards),
        images=snakemake.params.images,
        **snakemake.params.data,
        **snakemake.params.extensions,
        device=device,
    )
