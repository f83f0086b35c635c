"""Measure how clean accuracies vary together over test images."""

import _job

with _job.running(snakemake):
    from jacobian_ensembles.stages.measure_image_error import measure_image_error

    measure_image_error(snakemake.input.clean, snakemake.output.table)
