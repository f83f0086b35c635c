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


def is_the_attack(variant):
    """Whether a variant is the run's own attack, whose results exist anyway."""
    ours, own = cfg.ablation[variant], cfg.attack
    return ours.recipe() == own.recipe() and ours.seeds == own.seeds


def worst_by(variant, template, own):
    """The template of a variant's results: that of the run's own attack if the variant is the same."""
    return own if is_the_attack(variant) else template.replace("{variant}", variant)


def eps_of(variant):
    """The eps of the run at which a variant is tried."""
    chosen = cfg.ablation[variant].eps
    return [eps for eps in cfg.grid.eps if chosen is None or eps in chosen]


def of_every_variant():
    """The name of a variant and its record, for every variant, eps and model of the run."""
    return [
        (
            variant,
            worst_by(variant, paths.variant_worst, paths.worst).format(
                **cell_wildcards(cell), eps=number_token(eps)
            ),
        )
        for variant in cfg.ablation
        for eps in eps_of(variant)
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


def own_name():
    """What the run's own attack is called in the table of all attacks: as the variant that is the same, if any."""
    return next(filter(is_the_attack, cfg.ablation), "attack")


def all_attacks():
    """The run's own attack and its other variants: by name, what they are and at which eps they were tried."""
    others = {
        variant: (cfg.ablation[variant], eps_of(variant))
        for variant in cfg.ablation
        if not is_the_attack(variant)
    }
    return {own_name(): (cfg.attack, list(cfg.grid.eps)), **others}


def results_by(attack, own, template):
    """The template of the results of the run's own attack, or of a variant."""
    return own if attack == own_name() else template.replace("{variant}", attack)


def known_attacks():
    """What the rules that raise flags know of each attack."""
    return {
        name: {"kind": ours.kind, "steps": ours.steps, "family": ours.family}
        for name, (ours, _) in all_attacks().items()
    }


def of_every_attack_and_variant():
    """The name of an attack and its record, for each eps and the first training of every model."""
    return [
        (name, template.replace("{eps}", number_token(eps)).format(**at))
        for name, (_, radii) in all_attacks().items()
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


def white_boxes(eps):
    """The gradient attacks that were tried at an eps; the run's own attack if there are none."""
    found = [
        name
        for name, (ours, radii) in all_attacks().items()
        if ours.kind == "white box" and eps in radii
    ]
    return found or [own_name()]


def worst_uaps_of_dataset(wildcards):
    """The worst perturbations of the models of a dataset by every attack that sees gradients: model by model."""
    return [
        results_by(attack, paths.worst_uap, paths.variant_worst_uap)
        .replace("{eps}", wildcards.eps)
        .format(**at)
        for at in first_trainings(wildcards.dataset)
        for attack in white_boxes(float(wildcards.eps))
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
