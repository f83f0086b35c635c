# Jacobian Ensembles: from the data sets to the paper's figures and table.
#
#   snakemake --cores all --resources gpu=1                                                    the paper's grid
#   snakemake --cores all --resources gpu=1 --configfile workflow/presets/quick.yaml           minutes, small grid
#
# Named targets: data, learners, metrics, figures, tables, theory, claims, worst_of_k; spread, ablation, recipe (with their
# presets); ship (keep a finished run's small outputs), reference_figures (redraw what is shipped, without training).
from snakemake.utils import min_version

min_version("9.10")


configfile: "config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/attack.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/paper.smk"
include: "workflow/rules/sensitivity.smk"
include: "workflow/rules/theory.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/recipe.smk"
include: "workflow/rules/reference.smk"


report: "workflow/report/workflow.rst"


# with a cluster's profile these are not submitted: targets, the download, and what takes seconds
localrules:
    download_dataset,
    aggregate_metrics,
    plot_figure,
    write_table,
    write_latex_table,
    compare_trials,
    aggregate_jacobian,
    tabulate_worst_of_k,
    aggregate_ablation,
    ship_run,
    rebuild_run,
    import_dataset,
    write_report,
    all,
    data,
    learners,
    metrics,
    figures,
    tables,
    theory,
    claims,
    worst_of_k,
    spread,
    ablation,
    recipe,
    ship,
    reference_figures,


rule all:
    default_target: True
    input:
        rules.figures.input,
        rules.tables.input,
        rules.theory.input,
        rules.claims.input,
        rules.worst_of_k.input,
        rules.write_report.output,
