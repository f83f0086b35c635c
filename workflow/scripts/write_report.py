"""Write the run as one page."""

from pathlib import Path

import _job

with _job.running(snakemake):
    from jacobian_ensembles.stages.write_report import write_report

    folder = Path(snakemake.input.run).parent
    write_report(folder, snakemake.output.page, snakemake.input.figures, snakemake.input.provenance)
