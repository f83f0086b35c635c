# Before a job starts: two processes on the same results would remove each other's files, and what is made from a file of
# the future looks older than it, so that Snakemake would throw it away.
import time

from jacobian_ensembles.runs.hold import RunHeldError, hold_run


onstart:
    if workflow.is_main_process:
        folder = Path(cfg.run.results, cfg.run.name)
        try:
            hold_run(folder)
        except RunHeldError as error:
            raise WorkflowError(str(error)) from None
        for path in folder.rglob("*"):
            if path.lstat().st_mtime > time.time() + 60:
                raise WorkflowError(
                    f"{path}: dated in the future, {time.ctime(path.lstat().st_mtime)}. Set the clock that is wrong, or "
                    f"date such files today: find {folder} -newermt now -exec touch {{}} +"
                )
