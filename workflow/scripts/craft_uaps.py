"""Craft and evaluate a block of universal perturbations of one ensemble and eps."""

import _job

with _job.running(snakemake) as device:
    from jacobian_ensembles.experiment.config import Attack
    from jacobian_ensembles.stages.craft_uaps import craft_to_file

    craft_to_file(
        snakemake.input.ensemble,
        snakemake.input.dataset,
        snakemake.output.uaps,
        cell=_job.cell(snakemake.wildcards),
        eps=float(snakemake.wildcards.eps),
        first=int(snakemake.wildcards.first),
        last=int(snakemake.wildcards.last),
        settings=Attack(**snakemake.params.attack),
        seed=snakemake.params.seed,
        **snakemake.params.data,
        **snakemake.params.extensions,
        device=device,
    )
