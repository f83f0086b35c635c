# What a run shows on the terminal: see run_display.py.
from run_display import put_on_display

# not in jobs of a cluster, and not in place of what a workflow that imports this one shows
if workflow.is_main_process and not imported_as:
    put_on_display(workflow.output_settings)
