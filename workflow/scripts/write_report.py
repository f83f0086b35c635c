"""Write the run as one page."""

import _job

with _job.running(snakemake):
    from jacobian_ensembles.stages.write_report import write_report

    inputs = dict(snakemake.input.items())
    write_report(snakemake.output.page, inputs, snakemake.params.settings, snakemake.config)
