"""Train the M learners of a snapshot ensemble in one run."""

import _job

with _job.running(snakemake) as device:
    from jacobian_ensembles.experiment.config import Model, Training
    from jacobian_ensembles.stages.train_learner import train_to_file

    train_to_file(
        snakemake.input.dataset,
        snakemake.output.snapshots,
        dataset=snakemake.wildcards.dataset,
        ensemble="snapshot",
        lambda_jr=float(snakemake.wildcards.lambda_jr),
        repetition=int(snakemake.wildcards.repetition),
        snapshots=int(snakemake.wildcards.members),
        model=Model(**snakemake.params.model),
        settings=Training(**snakemake.params.training),
        seed=snakemake.params.seed,
        **snakemake.params.data,
        device=device,
    )
