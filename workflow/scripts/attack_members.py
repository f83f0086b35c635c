"""Attack the learners of one training one by one."""

import _job

with _job.running(snakemake) as device:
    from jacobian_ensembles.stages.attack_members import attack_members
    from jacobian_ensembles.stages.inputs import StoredEnsemble

    attack_members(
        [StoredEnsemble(path, 1, **snakemake.params.extensions) for path in snakemake.input.learners],
        _job.images(snakemake),
        snakemake.output.record,
        cell=_job.single(snakemake.wildcards),
        eps=snakemake.params.eps,
        seeds=snakemake.params.seeds,
        attack=snakemake.params.attack,
        seed=snakemake.params.seed,
        device=device,
    )
