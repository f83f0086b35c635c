"""Predict the clean test set with one ensemble."""

import _job

with _job.running(snakemake) as device:
    from jacobian_ensembles.stages.evaluate_ensemble import evaluate_to_file

    evaluate_to_file(
        snakemake.input.ensemble,
        snakemake.input.dataset,
        snakemake.output.clean,
        cell=_job.cell(snakemake.wildcards),
        **snakemake.params.data,
        **snakemake.params.extensions,
        device=device,
    )
