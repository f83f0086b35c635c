# Two processes on the same results would remove each other's files: the second is refused before it starts a job.
from jacobian_ensembles.runs.hold import RunHeldError, hold_run


onstart:
    if workflow.is_main_process:
        try:
            held = hold_run(f"{cfg.run.results}/{cfg.run.name}")
        except RunHeldError as error:
            raise WorkflowError(str(error)) from None
