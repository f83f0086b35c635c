"""Predict the clean test set with one ensemble."""

import _job

with _job.running(snakemake) as device:
    from jacobian_ensembles.stages.evaluate_ensemble import evaluate_ensemble

    evaluate_ensemble(
        _job.ensemble(snakemake),
        _job.images(snakemake),
        snakemake.output.clean,
        cell=_job.cell(snakemake.wildcards),
        device=device,
    )
