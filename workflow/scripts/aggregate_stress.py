"""Gather every attack of a run in one table, with the flags that they raise."""

import _job

with _job.running(snakemake):
    from jacobian_ensembles.stages.aggregate_stress import aggregate_stress

    aggregate_stress(
        **{name: snakemake.input.get(name, []) for name in ("clean", "transfers", "singles")},
        records=dict(zip(snakemake.params.attacks, snakemake.input.records, strict=True)),
        attacks=snakemake.params.attacks,
        path=snakemake.output.table,
        transfer_path=snakemake.output.transfer,
    )
