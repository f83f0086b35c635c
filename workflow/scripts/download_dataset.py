"""Fetch a dataset, verify it and store it as one file."""

import _job

with _job.running(snakemake):
    from jacobian_ensembles.stages.download_dataset import download_dataset

    download_dataset(snakemake.wildcards.dataset, snakemake.output.dataset, snakemake.config["data"]["local_dir"])
