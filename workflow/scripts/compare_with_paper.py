"""Set the run's models beside the paper's Table 1."""

import _job

with _job.running(snakemake):
    from jacobian_ensembles.stages.compare_with_paper import write_comparison

    write_comparison(
        snakemake.input.summary,
        snakemake.output.csv,
        snakemake.output.markdown,
        snakemake.params.run,
        snakemake.params.banner,
    )
