"""Set this run beside others."""

from pathlib import Path

import _job

with _job.running(snakemake):
    from jacobian_ensembles.stages.compare_runs import compare_runs

    tables = [*snakemake.input.others, snakemake.input.metrics]  # <run>/metrics/metrics.csv
    folders = [Path(path).parents[1] for path in tables]
    compare_runs(folders, Path(snakemake.output.page).parent, **snakemake.params.settings)
