"""Prove what no perturbation can take from one ensemble."""

import _job

with _job.running(snakemake) as device:
    from jacobian_ensembles.stages.certify_ensemble import certify_ensemble

    certify_ensemble(
        _job.ensemble(snakemake),
        _job.images(snakemake),
        snakemake.output.record,
        cell=_job.cell(snakemake.wildcards),
        **snakemake.params.bounds,
        device=device,
    )
