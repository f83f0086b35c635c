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


def of_every_variant():
    """The name of a variant and its record, for every variant, eps and model of the run."""
    return [
        (
            variant,
            results_by(variant, paths.worst, paths.variant_worst).format(
                **cell_wildcards(cell), eps=number_token(eps)
            ),
        )
        for variant in cfg.ablation
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


def of_every_attack_and_variant():
    """The name of an attack and its record, for each eps and the first training of every model."""
    return [
        (name, template.replace("{eps}", number_token(eps)).format(**at))
        for name, (_, radii) in run_attacks.all.items()
        for template in [results_by(name, paths.worst, paths.variant_worst)]
        for eps in radii
        for at in first_trainings()
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


def records_of_the_run():
    """The provenance records of all jobs that the page rests on, in the order of the workflow."""
    blocks = [
        paths.uaps.replace("{first}", str(first)).replace("{last}", str(last))
        for first, last in cfg.attack.seed_blocks()
    ]
    results = [
        *map(file_of, cfg.datasets),
        *(
            path
            for cell in cfg.cells
            for path in paths.members(cell, cfg.in_one_job(cell.ensemble))
        ),
        *of_every_cell(paths.ensemble),
        *of_every_cell(paths.clean),
        *of_every_attack(*blocks),
        *of_every_attack(paths.worst),
        *of_every_cell(paths.jacobian),
        paths.metrics,
        paths.examples,
        *files_of("figures"),
        *files_of("tables"),
        *files_of("claims"),
        *transfers(),
        *singles(),
    ]
    return list(dict.fromkeys(map(paths.provenance, results)))


def results_to_ship():
    """What a run is made of: its trials, or everything that follows from its models."""
    if cfg.trials:
        return rules.recipe.input
    wanted = [*rules.figures.input, *rules.tables.input, *rules.theory.input]
    wanted += [*rules.claims.input, *rules.worst_of_k.input]
    if cfg.ablation:
        wanted += rules.ablation.input
    if cfg.stress.asked:
        wanted += rules.stress.input
    if cfg.grid.repetitions > 1:
        wanted += rules.spread.input
    return wanted
