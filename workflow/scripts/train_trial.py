"""Try one training recipe on one dataset and lambda."""

import _job

with _job.running(snakemake) as device:
    from jacobian_ensembles.stages.train_trial import train_trial
    from jacobian_ensembles.training.recipe import Recipe

    train_trial(
        _job.images(snakemake),
        snakemake.output.record,
        trial=snakemake.wildcards.trial,
        dataset=snakemake.wildcards.dataset,
        lambda_jr=float(snakemake.wildcards.lambda_jr),
        model=snakemake.params.model,
        recipe=Recipe(**snakemake.params.recipe),
        goal=snakemake.params.objective,
        seed=snakemake.params.seed,
        device=device,
    )
