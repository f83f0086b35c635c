"""The workflow, parsed as Snakemake parses it, and nothing run."""

from contextlib import contextmanager
from pathlib import Path

from snakemake.api import ConfigSettings, OutputSettings, ResourceSettings, SnakemakeApi, WorkflowSettings
from snakemake.settings.types import SharedFSUsage, StorageSettings
from snakemake_interface_executor_plugins.settings import ExecMode

ROOT = Path(__file__).resolve().parents[2]
EVERYTHING = SharedFSUsage.all()


@contextmanager
def workflow(config=None, resources=None, mode=ExecMode.DEFAULT, folder=ROOT, files=(), shared=EVERYTHING):
    with SnakemakeApi(OutputSettings(quiet=set())) as api:
        parsed = api.workflow(
            resource_settings=ResourceSettings(cores=1, resources=resources or {}),
            storage_settings=StorageSettings(shared_fs_usage=shared),
            config_settings=ConfigSettings(config=config or {}, configfiles=files),
            workflow_settings=WorkflowSettings(exec_mode=mode),
            snakefile=ROOT / "Snakefile",
            workdir=folder,
        )
        yield parsed._workflow  # the API has no public list of rules
