"""Draw one supplementary figure."""

import _job

with _job.running(snakemake):
    from jacobian_ensembles.stages.plot_supplement import plot_supplement

    plot_supplement(
        snakemake.wildcards.figure,
        snakemake.input.table,
        snakemake.output.pdf,
        snakemake.output.png,
        snakemake.params.run,
        snakemake.params.banner,
    )
