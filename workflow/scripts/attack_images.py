"""Attack test images one by one."""

import _job

with _job.running(snakemake) as device:
    from jacobian_ensembles.stages.attack_images import attack_images

    attack_images(
        _job.ensemble(snakemake),
        _job.images(snakemake),
        snakemake.output.record,
        cell=_job.cell(snakemake.wildcards),
        eps=float(snakemake.wildcards.eps),
        **snakemake.params.attack,
        device=device,
    )
