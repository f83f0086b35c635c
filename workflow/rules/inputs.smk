# Input functions: which files a job starts from. Snakemake's linter wants them apart from the rules.

cell_at = {tuple(cell_wildcards(cell).items()): cell for cell in cfg.cells}


def dataset_of(wildcards):
    """A dataset's file. A built-in one, verified by checksum, is the same when fetched again; a user's may not be."""
    path = file_of(wildcards.dataset)
    return path if is_own(wildcards.dataset) else ancient(path)


def learners_of(wildcards):
    """The learner files of one ensemble."""
    cell = cell_at[tuple(wildcards.items())]
    return paths.members(cell, cfg.in_one_job(cell.ensemble))


def largest_nests():
    """The largest ensemble of every training whose learners nest: they are its members, attacked one by one."""
    found = {}
    for cell in cfg.cells:
        if not cfg.in_one_job(cell.ensemble):
            nest = cell.dataset, cell.ensemble, cell.lambda_jr, cell.repetition
            found[nest] = max(found.get(nest, cell), cell, key=lambda c: c.members)
    return found


def learners_alone_of(wildcards):
    """The learner files of the largest ensemble of one training."""
    nest = (
        wildcards.dataset,
        wildcards.ensemble,
        float(wildcards.lambda_jr),
        int(wildcards.repetition),
    )
    return paths.members(largest_nests()[nest], in_one_job=False)


def members_alone():
    """The record of the members of every training whose learners nest."""
    nests = largest_nests().values()
    return [paths.members_alone.format(**cell_wildcards(cell)) for cell in nests]


def blocks_of(wildcards):
    """The crafted blocks of one ensemble and eps, in seed order."""
    blocks = cfg.attack.seed_blocks()
    return [
        paths.uaps.format(**wildcards, first=first, last=last) for first, last in blocks
    ]


def variant_blocks_of(wildcards):
    """The crafted blocks of one variant, ensemble and eps, in seed order."""
    blocks = cfg.ablation[wildcards.variant].seed_blocks()
    return [
        paths.variant_uaps.format(**wildcards, first=first, last=last)
        for first, last in blocks
    ]


def worst_of_variant(variant):
    """What a variant counted, for every eps that it is tried at and every model of the run."""
    template = results_by(variant, paths.worst, paths.variant_worst)
    return [
        template.format(**cell_wildcards(cell), eps=number_token(eps))
        for eps in run_attacks.eps_of(variant)
        for cell in cfg.cells
    ]


def of_every_cell(template):
    """A template filled in for every model of the run."""
    return [template.format(**cell_wildcards(cell)) for cell in cfg.cells]


def of_every_attack(*templates):
    """Templates filled in for every (model, eps) of the run, one template after another."""
    return [
        template.format(**cell_wildcards(cell), eps=number_token(eps))
        for template in templates
        for eps in cfg.grid.eps
        for cell in cfg.cells
    ]


def of_every_model(template):
    """A template filled in for the first training of every model of the run."""
    first = cfg.grid.first_repetition
    cells = [cell for cell in cfg.cells if cell.repetition == first]
    return [template.format(**cell_wildcards(c)) for c in cells]


def results_by(attack, own, template):
    """The template of the results of the run's own attack, or of a variant."""
    same = run_attacks.is_own(attack)
    return own if same else template.replace("{variant}", attack)


def records_of_attacks():
    """The records of the run's own attack and of its other variants, in the order of ``run_attacks.all``."""
    return [
        results_by(name, paths.records, paths.variant_records)
        for name in run_attacks.all
    ]


def first_trainings(dataset=None):
    """The wildcards of the first training of every model, or of those of a dataset."""
    return [
        cell_wildcards(cell)
        for cell in cfg.cells
        if cell.repetition == cfg.grid.first_repetition
        and dataset in (None, cell.dataset)
    ]


def models_of_dataset(template):
    """An input function: a template filled in for the models of a dataset."""
    return lambda w: [template.format(**at) for at in first_trainings(w.dataset)]


def worst_uaps_of_dataset(wildcards):
    """The worst perturbations of the models of a dataset by every attack that sees gradients: model by model."""
    templates = [
        results_by(attack, paths.worst_uap, paths.variant_worst_uap)
        for attack in run_attacks.white_boxes(float(wildcards.eps))
    ]
    return [
        template.replace("{eps}", wildcards.eps).format(**at)
        for at in first_trainings(wildcards.dataset)
        for template in templates
    ]


def transfers():
    """The records of how perturbations transfer, per dataset and eps."""
    present = {cell.dataset for cell in cfg.cells}
    return [
        paths.transfer.format(dataset=dataset, eps=number_token(eps))
        for dataset in cfg.datasets
        if dataset in present
        for eps in cfg.stress.transfer_eps
    ]


def singles():
    """The records of images that are attacked one by one, per eps and model."""
    return [
        paths.single.replace("{eps}", number_token(eps)).format(**at)
        for eps in cfg.stress.single_eps
        for at in first_trainings()
    ]


def clean_of_dataset(wildcards):
    """The clean predictions of all trainings on a dataset; perturbations are kept without them."""
    cells = [cell for cell in cfg.cells if cell.dataset == wildcards.dataset]
    wanted = cells if wildcards.what == "bits" else []
    return [paths.clean.format(**cell_wildcards(cell)) for cell in wanted]


def uaps_of_dataset(wildcards):
    """The worst perturbations of all trainings on a dataset, training by training."""
    return [
        paths.worst_uap.format(**cell_wildcards(cell), eps=number_token(eps))
        for cell in cfg.cells
        if cell.dataset == wildcards.dataset
        for eps in cfg.grid.eps
    ]


def kept_beside_tables():
    """What run.keep names."""
    if cfg.trials:
        return []
    present = dict.fromkeys(cell.dataset for cell in cfg.cells)
    arrays = [
        paths.arrays.format(what=what, dataset=dataset)
        for what in ("bits", "perturbations")
        if what in cfg.run.keep
        for dataset in present
    ]
    return arrays + (of_every_cell(paths.model) if "models" in cfg.run.keep else [])


def blocks_of_every_attack(attack, template, eps):
    """All blocks of perturbations by an attack, for every training and the eps given."""
    blocks = [
        template.replace("{first}", str(first)).replace("{last}", str(last))
        for first, last in attack.seed_blocks()
    ]
    return [
        block.format(**cell_wildcards(cell), eps=number_token(radius))
        for block in blocks
        for radius in eps
        for cell in cfg.cells
    ]


def results_of_variants():
    """What the variants of the attack left that are not the run's own attack."""
    found = []
    for name in cfg.ablation:
        if not run_attacks.is_own(name):
            blocks = paths.variant_uaps.replace("{variant}", name)
            found += blocks_of_every_attack(
                cfg.ablation[name], blocks, run_attacks.eps_of(name)
            )
            found += worst_of_variant(name)
    return found


def tables_of_the_run():
    """The tables in metrics/ that the configuration asks for."""
    if cfg.trials:
        return [paths.trials]
    own = [paths.records, paths.metrics, paths.summary]
    own += [paths.worst_of_k, paths.jacobian_table, paths.image_error]
    own += [paths.members_table] if cfg.attack.members else []
    own += expand(paths.variant_records, variant=cfg.ablation)
    own += [paths.ablation] if cfg.ablation else []
    return own + ([paths.stress, paths.transfer_table] if cfg.stress.asked else [])


def drawn():
    """Every figure and table of the catalogue that this run has."""
    if cfg.trials:
        return files_of("recipe")
    items = filter(in_this_run, (*figures_of_runs, *catalogue.TABLES))
    return [path for item in items for path in files_of_item(item)]


def results_of_the_run():
    """Everything that the configuration asks for and that something is drawn from, in the order of the workflow."""
    if cfg.trials:
        trials = expand(
            paths.trial,
            trial=cfg.trials,
            dataset=cfg.datasets,
            lambda_jr=map(number_token, cfg.grid.lambdas),
        )
        return [*map(file_of, cfg.datasets), *trials, *tables_of_the_run()]
    return [
        *map(file_of, cfg.datasets),
        *(
            path
            for cell in cfg.cells
            for path in paths.members(cell, cfg.in_one_job(cell.ensemble))
        ),
        *of_every_cell(paths.ensemble),
        *of_every_cell(paths.clean),
        *blocks_of_every_attack(cfg.attack, paths.uaps, cfg.grid.eps),
        *of_every_attack(paths.worst),
        *(members_alone() if cfg.attack.members else []),
        *of_every_cell(paths.jacobian),
        *results_of_variants(),
        *transfers(),
        *singles(),
        *tables_of_the_run(),
    ]


def records_of_the_run():
    """The provenance records of all jobs that made a run, in the order of the workflow."""
    # by the jobs of other results
    beside = {paths.summary, paths.transfer_table, *of_every_cell(paths.jacobian)}
    results = [p for p in (*results_of_the_run(), *drawn()) if p not in beside]
    return list(dict.fromkeys(map(paths.provenance, results)))


# before the first job, not after hours at the first model that is kept
if workflow.is_main_process:
    all_paths = [*results_of_the_run(), *drawn(), *kept_beside_tables()]
    if long_path := too_long(all_paths, cfg.run.results):
        raise WorkflowError(
            f"{long_path}: too long for the file system. Give this run a shorter run.name or run.results, or what is "
            "named in its grid a shorter name."
        )
