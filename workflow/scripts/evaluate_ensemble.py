"""Predict the clean test set with one ensemble, and measure exact Jacobian norms of it and its learners."""

from dataclasses import replace

import _job

with _job.running(snakemake) as device:
    from jacobian_ensembles.stages.evaluate_ensemble import evaluate_ensemble

    images = _job.images(snakemake)
    evaluate_ensemble(
        _job.ensemble(snakemake),
        images,
        snakemake.output.clean,
        cell=_job.cell(snakemake.wildcards),
        measured=replace(images, test_images=snakemake.params.jacobian_images),
        jacobian=snakemake.output.jacobian,
        device=device,
    )
