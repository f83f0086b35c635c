# Before a job starts: two processes on the same results would remove each other's files, what is made from a file of
# the future looks older than it, so that Snakemake would throw it away, and without room for temporary files it stops
# without saying where. Of several blocks of this kind Snakemake runs the last, so there is one.
import time

from jacobian_ensembles.runs.devices import visible_gpus
from jacobian_ensembles.runs.hold import RunHeldError, hold_run, try_temporary_files


onstart:
    if workflow.is_main_process:
        # on a cluster the GPUs are elsewhere
        if (
            cfg.compute.device == "cuda"
            and workflow.local_exec
            and not visible_gpus()
        ):
            raise WorkflowError(
                "compute.device is cuda, and there is no GPU on this machine. Set it to cpu or auto."
            )
        folder = Path(cfg.run.results, cfg.run.name)
        try:
            try_temporary_files()
            hold_run(folder)
        except (RunHeldError, OSError) as error:
            raise WorkflowError(str(error)) from None
        for path in folder.rglob("*"):
            if path.lstat().st_mtime > time.time() + 60:
                raise WorkflowError(
                    f"{path}: dated in the future, {time.ctime(path.lstat().st_mtime)}. Set the clock that is wrong, or "
                    f"date such files today: find {folder} -newermt now -exec touch {{}} +"
                )
