"""Gather every attack of a run in one table, with the flags that they raise."""

import _job

with _job.running(snakemake):
    from jacobian_ensembles.stages.aggregate_stress import aggregate_stress

    aggregate_stress(
        **{name: snakemake.input.get(name, []) for name in ("clean", "records", "transfers", "singles")},
        **{name: snakemake.params[name] for name in ("names", "attacks")},
        path=snakemake.output.table,
        transfer_path=snakemake.output.transfer,
    )
