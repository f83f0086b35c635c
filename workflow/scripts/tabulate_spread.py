"""Keep the spread over trainings apart from the spread over attack seeds."""

import _job

with _job.running(snakemake):
    from jacobian_ensembles.stages.tabulate_spread import tabulate_spread

    tabulate_spread(
        snakemake.input.metrics,
        snakemake.output.csv,
        snakemake.output.markdown,
        snakemake.params.clean_weight,
        snakemake.params.confidence,
        snakemake.params.run,
        snakemake.params.banner,
    )
