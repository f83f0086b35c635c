"""Try one training recipe on one dataset and lambda."""

import _job

with _job.running(snakemake) as device:
    from jacobian_ensembles.experiment.config import Model, Training
    from jacobian_ensembles.stages.train_trial import trial_to_file

    trial_to_file(
        snakemake.input.dataset,
        snakemake.output.record,
        trial=snakemake.wildcards.trial,
        dataset=snakemake.wildcards.dataset,
        lambda_jr=float(snakemake.wildcards.lambda_jr),
        model=Model(**snakemake.params.model),
        settings=Training(**snakemake.params.training),
        seed=snakemake.params.seed,
        **snakemake.params.data,
        device=device,
    )
