# The configuration, validated once: this repository's config.yaml under what the user gave. Paths of the workflow's own
# files start here, so that it can be run from any folder and imported as a module.
import sys

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake.utils import update_config

HERE = Path(workflow.current_basedir)
REPOSITORY = HERE.parents[1]
sys.path.insert(0, str(REPOSITORY / "src"))

try:
    from jacobian_ensembles.extensions.code_digest import script_digest
    from jacobian_ensembles.config.schema import load_config
    from jacobian_ensembles.config.overlays import load_overlays
    from jacobian_ensembles.config.yaml_files import read_yaml
except ModuleNotFoundError as error:
    raise WorkflowError(
        f"This workflow's package needs '{error.name}' where Snakemake itself runs. Install what environment.yml lists: "
        f"pip install '{REPOSITORY}[workflow]', or conda env create --file {REPOSITORY}/environment.yml."
    ) from None


def files_below():
    """The configuration files of this run: this repository's, that of the folder where Snakemake runs, overlays."""
    files = [REPOSITORY / "config.yaml"]
    # a workflow that imports this one reads its own config.yaml, and hands over what it wants
    if imported_as:
        return files
    local = Path("config.yaml")
    if local.is_file() and not local.samefile(files[0]):
        files.append(local.absolute())
        logger.info(f"Configuration: {files[1]}, over {files[0]}")
    return files + [*workflow.overwrite_configfiles]


def configured(given):
    """What was given, over the files below it, validated."""
    if workflow.config_settings.replace_workflow_config:
        return load_config(given)
    files, merged = files_below(), {}
    for layer in (*map(read_yaml, files), given):
        update_config(merged, layer)
    return load_overlays(merged, files, workflow.config_settings.config)


try:
    if workflow.is_main_process:
        cfg = configured(config)
        scripts = (REPOSITORY / "workflow" / "scripts").glob("[!_]*.py")
        digests = {path.stem: script_digest(path) for path in scripts}
    else:
        given, digests = handed_over()
        cfg = load_config(given)
except ValueError as error:
    raise WorkflowError(str(error)) from None

# complete, and with every value of the right type
config = cfg.model_dump(mode="json", by_alias=True)

if workflow.is_main_process:
    hand_over(config, digests)


envvars:
    HANDOVER,
