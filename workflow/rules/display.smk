# What a run shows on the terminal: see run_display.py; and a dry run: see run_plan.py.
from run_display import Display, put_on_display
from run_plan import Plan

# not in jobs of a cluster, and not in place of what a workflow that imports this one shows
if workflow.is_main_process and not imported_as:
    if workflow.output_settings.dryrun:
        folder, cores = (
            Path(cfg.run.results, cfg.run.name),
            workflow.resource_settings.cores,
        )
        put_on_display(
            workflow.output_settings,
            lambda own: Plan(own, folder, cores, lambda: len(dated(workflow.dag))),
        )
    else:
        put_on_display(workflow.output_settings, Display)
