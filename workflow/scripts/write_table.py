"""Write Table 1."""

import _job

with _job.running(snakemake):
    from jacobian_ensembles.stages.write_table import write_table1

    write_table1(
        snakemake.input.summary,
        snakemake.output.latex,
        snakemake.output.csv,
        snakemake.output.markdown,
        snakemake.params.run,
        snakemake.params.banner,
    )
