"""Write one table."""

import _job

with _job.running(snakemake):
    from jacobian_ensembles.stages.write_table import write_table

    write_table(
        snakemake.wildcards.table,
        dict(snakemake.input.items()),
        snakemake.output.csv,
        snakemake.output.markdown,
        snakemake.output.get("latex"),
        run=snakemake.params.run,
        banner=snakemake.params.banner,
        settings=snakemake.params.settings,
        origin=_job.origin(),
    )
