"""Set this run beside others."""

from pathlib import Path

import _job

with _job.running(snakemake):
    from jacobian_ensembles.stages.compare_runs import compare_runs

    others = [Path(path).parents[1] for path in snakemake.input.others]  # <run>/metrics/records.csv
    folders = [*others, Path(snakemake.input.run).parent]
    compare_runs(folders, Path(snakemake.output.page).parent, **snakemake.params.settings)
