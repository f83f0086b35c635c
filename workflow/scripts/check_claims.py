"""Check the paper's claims against the run."""

import _job

with _job.running(snakemake):
    from jacobian_ensembles.stages.check_claims import write_claims

    write_claims(
        snakemake.input.metrics,
        snakemake.input.summary,
        snakemake.input.jacobian,
        snakemake.output.csv,
        snakemake.output.markdown,
        snakemake.params.confidence,
        snakemake.params.run,
        snakemake.params.banner,
    )
