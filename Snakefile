# Jacobian Ensembles: from the datasets to the paper's figures and table.
#
#   snakemake --cores all                                                the paper's grid
#   snakemake --cores all --configfile workflow/presets/quick.yaml       minutes, small grid
#
# Named targets: data, learners, metrics, figures, tables, theory, claims, worst_of_k; spread, ablation, stress, recipe (with
# their presets); compare (with other runs); ship (keep a finished run's small outputs), reference_figures (redraw what is
# shipped, without training).
from snakemake.utils import min_version

min_version("9.11")


report: "workflow/report/workflow.rst"


# before the rules: the configuration and what depends on it
include: "workflow/rules/handover.smk"
include: "workflow/rules/configuration.smk"
include: "workflow/rules/hold.smk"
include: "workflow/rules/display.smk"
include: "workflow/rules/scheduler.smk"
include: "workflow/rules/resources.smk"
include: "workflow/rules/common.smk"
include: "workflow/rules/inputs.smk"
include: "workflow/rules/memory.smk"
include: "workflow/rules/shipped.smk"
# the stages, in the order of a run
include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/attack.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/paper.smk"
include: "workflow/rules/sensitivity.smk"
include: "workflow/rules/stress.smk"
include: "workflow/rules/theory.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/recipe.smk"
include: "workflow/rules/keep.smk"
include: "workflow/rules/compare.smk"
include: "workflow/rules/reference.smk"


rule all:
    default_target: True
    input:
        rules.figures.input,
        rules.tables.input,
        rules.theory.input,
        rules.claims.input,
        rules.worst_of_k.input,
        rules.write_report.output,
        rules.describe_run.output,
        kept_beside_tables(),
