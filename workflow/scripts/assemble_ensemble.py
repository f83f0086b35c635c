"""Stack the learners of one ensemble."""

import _job

with _job.running(snakemake):
    from jacobian_ensembles.stages.assemble_ensemble import assemble_ensemble

    assemble_ensemble(snakemake.input.learners, int(snakemake.wildcards.members), snakemake.output.ensemble)
