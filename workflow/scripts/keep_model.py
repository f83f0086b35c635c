"""Keep one trained ensemble of a run, as it is."""

import _job

with _job.running(snakemake):
    from jacobian_ensembles.storage.learners import copy_learners

    copy_learners(snakemake.input.ensemble, snakemake.output.model)
