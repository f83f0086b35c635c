"""Draw one figure of the paper."""

import _job

with _job.running(snakemake):
    from jacobian_ensembles.stages.plot_figure import plot_figure

    plot_figure(
        snakemake.wildcards.figure,
        snakemake.input.metrics,
        snakemake.input.summary,
        snakemake.output.pdf,
        snakemake.output.png,
        snakemake.params.eps,
        snakemake.params.confidence,
        snakemake.params.run,
        snakemake.params.banner,
    )
