"""Craft and evaluate a block of universal perturbations of one ensemble and eps."""

import _job

with _job.running(snakemake) as device:
    from jacobian_ensembles.stages.craft_uaps import craft_uaps

    craft_uaps(
        _job.ensemble(snakemake),
        _job.images(snakemake),
        snakemake.output.uaps,
        cell=_job.cell(snakemake.wildcards),
        eps=float(snakemake.wildcards.eps),
        first=int(snakemake.wildcards.first),
        last=int(snakemake.wildcards.last),
        attack=snakemake.params.attack,
        seed=snakemake.params.seed,
        variant=snakemake.wildcards.get("variant"),
        device=device,
    )
