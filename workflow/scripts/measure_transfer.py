"""Measure how perturbations of one model transfer to the others of a dataset."""

import _job

with _job.running(snakemake) as device:
    from jacobian_ensembles.stages.measure_transfer import measure_transfer

    measure_transfer(
        snakemake.input.ensembles,
        snakemake.input.uaps,
        _job.images(snakemake),
        snakemake.output.record,
        eps=float(snakemake.wildcards.eps),
        **{name: snakemake.params[name] for name in ("attacks", "attack", "seeds", "seed", "architecture", "methods")},
        device=device,
    )
