"""Train one learner, or all learners of an ensemble that are trained in one job."""

import _job

with _job.running(snakemake) as device:
    from jacobian_ensembles.stages.train_learner import train_learner
    from jacobian_ensembles.training.recipe import Recipe

    spelled = snakemake.wildcards
    _job.more["history"] = train_learner(
        _job.images(snakemake),
        snakemake.output.learner,
        dataset=spelled.dataset,
        ensemble=snakemake.params.ensemble,
        lambda_jr=float(spelled.lambda_jr),
        repetition=int(spelled.repetition),
        **{axis: int(spelled[axis]) for axis in ("member", "members") if axis in spelled.keys()},  # noqa: SIM118
        model=snakemake.params.model,
        recipe=Recipe(**snakemake.params.recipe),
        goal=snakemake.params.objective,
        seed=snakemake.params.seed,
        device=device,
    )
