# What shipped runs hold, and what can be drawn of them. Snakemake's linter wants functions apart from the rules.
from jacobian_ensembles.runs.run import Run

shipped = f"{cfg.run.results}/reference"
rebuilt = f"{cfg.run.results}/rebuilt"


@cache
def shipped_run(name):
    """A shipped run; its settings need none of the files of whoever made it."""
    return Run.open(f"{shipped}/{name}")


def tables_of_shipped(reference, item):
    """The tables that a figure or table of a shipped run is drawn from, by name."""
    found = catalogue.find(item)
    optional = filter(shipped_run(reference).has_source, found.optional)
    return {
        name: Layout(
            rebuilt if name in catalogue.WRITTEN else shipped, reference
        ).sources[name]
        for name in (*found.inputs, *optional)
    }


def settings_of_shipped(reference, item):
    """What a figure or table of a shipped run is drawn with."""
    known = shipped_run(reference).settings
    return {name: known[name] for name in catalogue.find(item).settings}


def redrawn(reference):
    """The figures and tables that a shipped run can be drawn anew from its tables."""
    return [
        f"{rebuilt}/{reference}/{'figures' if item in catalogue.FIGURES else 'tables'}/{item.name}.{kind}"
        for item in shipped_run(reference).items
        for kind in item.kinds
    ]
