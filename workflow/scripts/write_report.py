"""Write the run as one page."""

import _job

with _job.running(snakemake):
    from jacobian_ensembles.stages.write_report import write_report

    settings = dict(snakemake.params.items())
    del settings["code"]
    inputs = dict(snakemake.input.items())
    write_report(snakemake.output.page, **inputs, **settings, config=snakemake.config)
