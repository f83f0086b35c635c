"""Train one learner of a bagging or voting ensemble."""

import _job

with _job.running(snakemake) as device:
    from jacobian_ensembles.experiment.config import Model, Training
    from jacobian_ensembles.stages.train_learner import train_to_file

    train_to_file(
        snakemake.input.dataset,
        snakemake.output.learner,
        dataset=snakemake.wildcards.dataset,
        ensemble=snakemake.params.ensemble,
        lambda_jr=float(snakemake.wildcards.lambda_jr),
        repetition=int(snakemake.wildcards.repetition),
        member=int(snakemake.wildcards.member),
        model=Model(**snakemake.params.model),
        settings=Training(**snakemake.params.training),
        seed=snakemake.params.seed,
        **snakemake.params.data,
        device=device,
    )
