"""Draw one figure."""

import _job

with _job.running(snakemake):
    from jacobian_ensembles.stages.plot_figure import plot_figure

    plot_figure(
        snakemake.wildcards.figure,
        dict(snakemake.input.items()),
        snakemake.output.pdf,
        snakemake.output.png,
        snakemake.output.caption,
        run=snakemake.params.run,
        banner=snakemake.params.banner,
        settings=snakemake.params.settings,
        origin=_job.origin(),
        own=snakemake.params.get("own", ""),
    )
