"""A short article on the reproduction, every number of it from shipped results: as LaTeX, and as PDF where LaTeX is.

    python docs/article.py [FOLDER]

The sections are those that reproducibility venues ask for. The text is docs/article/article.tex.j2.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import jinja2
import yaml

from jacobian_ensembles.paper.catalogue import find
from jacobian_ensembles.paper.labels import DATASET_TITLES, GROUP_TITLES, model_name
from jacobian_ensembles.report.citing import bibtex
from jacobian_ensembles.report.verdicts import sentence, verdicts
from jacobian_ensembles.runs.provenance import short_commit
from jacobian_ensembles.runs.run import Run

ROOT = Path(__file__).resolve().parents[1]
RUNS = ROOT / "results" / "reference"
TOLERANCE = 6  # points within which a number of Table 1 counts as close
_SYMBOLS = {
    "λ": r"$\lambda$", "ε": r"$\varepsilon$", "σ": r"$\sigma$", "δ": r"$\delta$", "μ": r"$\mu$", "\u03c1": r"$\rho$",
    "‖": r"$\Vert$", "²": r"$^2$", "×": r"$\times$", "≤": r"$\le$", "≥": r"$\ge$", "·": r"$\cdot$", "±": r"$\pm$",
    "–": "--", "“": "``", "”": "''", "\u2019": "'", "→": r"$\to$", "†": r"\dag{}", "<": r"$<$", ">": r"$>$",
    "\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}",
}  # fmt: skip
_SYMBOLS |= {character: f"\\{character}" for character in "&%$#_{}"}


def tex(text: object) -> str:
    """Any text as LaTeX.

    Raises:
        ValueError: If a character is neither ASCII nor known; the font would lack it.
    """
    out = "".join(_SYMBOLS.get(character, character) for character in str(text))
    strange = {character for character in out if not (character.isascii() or character.isalpha())}
    if strange:
        raise ValueError(
            f"docs/article.py has no LaTeX for {' '.join(sorted(strange))} in {text!r}. Add it to _SYMBOLS."
        )
    return out


def _open(name: str) -> Run:
    return Run.open(RUNS / name)


def _run(name: str) -> dict[str, object]:
    """The size of a shipped run."""
    made, summary = _open(name).made, _open(name).table("summary")
    trainings = int(summary["repetitions"].max())
    each = {rule: 3600 * hours / made["jobs"][rule] for rule, hours in made["hours"].items()}
    return {
        "models": len(summary),
        "seeds": int(summary["seeds"].max()),
        "images": f"{int(summary['images'].max()):,}".replace(",", r"\,"),
        "repetitions": "once" if trainings == 1 else f"{trainings} times",
        "jobs": f"{sum(made['jobs'].values()):,}".replace(",", r"\,"),
        "hours": f"{sum(made['hours'].values()):.1f}",
        "seconds": {rule: f"{seconds:.0f}" for rule, seconds in each.items()},
        "torch": ", ".join(made["torch"]),
        "commit": [short_commit(commit, 7) for commit in made["commit"]],
    }


def _interval(row: dict[str, float], column: str) -> list[str]:
    """The paper's number, ours and its interval."""
    ours, low, high = (row[f"our_{column}{end}"] for end in ("", "_low", "_high"))
    return [f"{row[f'paper_{column}']:.1f}", f"{ours:.1f} [{low:.1f}, {high:.1f}]"]


def _comparison() -> tuple[list[dict[str, object]], dict[str, object]]:
    """The rows of Table 1, and what the text says of them."""
    table = _open("table1").written("comparison")
    columns = {"clean": "clean", "uap": "avg_uap", "weighted": "weighted"}
    rows = [
        {"name": f"{DATASET_TITLES[r['dataset']]}, {model_name(r)}"}
        | {name: _interval(r, column) for name, column in columns.items()}
        for r in table.to_dict("records")
    ]
    size = table["difference_avg_uap"].abs()
    chosen = table.assign(size=size).nlargest(3, "size")
    largest = [
        f"{r['difference_avg_uap']:+.1f} points ({DATASET_TITLES[r['dataset']]}, {model_name(r)})"
        for r in chosen.to_dict("records")
    ]
    facts: dict[str, object] = {"close": int((size <= TOLERANCE).sum()), "largest": ", ".join(largest)}
    for group in ("best", "jr_only", "standard"):
        best = table.loc[table[table["group"] == group].groupby("dataset")["our_weighted"].idxmax()]
        uap = {row["dataset"]: {"uap": f"{row['our_avg_uap']:.1f}"} for row in best.to_dict("records")}
        facts[{"jr_only": "jr"}.get(group, group)] = uap
    orders = {}
    titles = {**GROUP_TITLES, "best": "Jacobian ensemble"}
    for dataset, here in table.groupby("dataset", sort=False):
        best = here.groupby("group")["our_weighted"].max().sort_values(ascending=False)
        orders[DATASET_TITLES[str(dataset)]] = ", ".join(titles[group] for group in best.index)
    told = set(orders.values())
    facts["order"] = f"{told.pop()} on both datasets" if len(told) == 1 else "; ".join(map(": ".join, orders.items()))
    return rows, facts


def _hard() -> dict[str, object]:
    """What clipping does to a plain network, and what another training does."""
    variants = _open("ablation").table("ablation")
    plain = variants[(variants["dataset"] == "mnist") & (variants["lambda"] == 0) & (variants["members"] == 1)]
    means = 100 * plain.groupby("variant")["worst_accuracy"].mean()
    spread = _open("repetitions").written("spread")
    return {
        "clip": {
            "model": f"MNIST, {model_name(plain.iloc[0].to_dict())}",
            "kept": f"{means['default']:.1f}",
            "clipped": f"{means['clip']:.1f}",
        },
        "spread": {
            "trainings": int(spread["repetitions"].max()),
            "models": len(spread),
            "most": f"{100 * spread['mean_uap_sd'].max():.1f}",
        },
    }


def _claims(run: str) -> list[dict[str, object]]:
    return verdicts(_open(run).written("claims"), _open(run).written("effects"))


def _bibliography() -> list[dict[str, str]]:
    """The references of CITATION.cff, as a reader reads them."""
    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    items = []
    for reference in cff["references"]:
        authors = [f"{author['given-names']} {author['family-names']}" for author in reference["authors"]]
        if len(authors) > 6:
            authors = [*authors[:3], "et al."]
        where = [str(reference[key]) for key in ("journal", "collection-title", "volume") if key in reference]
        where += [identifier["value"] for identifier in reference.get("identifiers", [])] + [str(reference["year"])]
        key = bibtex(reference).partition("{")[2].partition(",")[0]
        items.append({"key": key, "text": f"{', '.join(authors)}: {reference['title']}. {', '.join(where)}."})
    return items


def article() -> tuple[str, list[Path]]:
    """The article's LaTeX, and the pictures that it includes."""
    config = _open("grid").config
    paper = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    claims, (rows, facts) = _claims("grid"), _comparison()
    names = {"figure1_clean_accuracy": "1", "figure2_robustness": "1", "figure3_tradeoff": "0.9"}
    pictures = [RUNS / "grid" / "figures" / f"{name}.pdf" for name in names]
    training = config["training"]
    settings = f"{training['optimizer'].title()} with learning rate {training['learning_rate']:g}, batches of "
    settings += (
        f"{training['batch_size']}, {training['epochs']} epochs ({training['snapshot_epochs']} for all snapshots "
    )
    settings += (
        f"together), perturbations crafted on the {config['attack']['split']} split, from {config['attack']['init']}, "
    )
    settings += (
        f"with steps of {config['attack']['step']:g} ε, {'' if config['attack']['clip'] else 'not '}clipped to [0, 1]"
    )
    bibliography, grid = _bibliography(), _run("grid")
    environment = jinja2.Environment(
        block_start_string="<%", block_end_string="%>", variable_start_string="<<", variable_end_string=">>",
        comment_start_string="<#", comment_end_string="#>", undefined=jinja2.StrictUndefined, trim_blocks=True,
    )  # fmt: skip
    environment.filters["tex"] = tex
    template = (ROOT / "docs" / "article" / "article.tex.j2").read_text(encoding="utf-8")
    authors = [author["family-names"] for author in cff["preferred-citation"]["authors"]]
    text = environment.from_string(template).render(
        **facts,
        **_hard(),
        paper={
            "title": tex(cff["preferred-citation"]["title"]),
            "authors": f"{', '.join(authors[:-1])} and {authors[-1]}",
            "seeds": paper["attack"]["seeds"],
        },
        version=tex(cff["version"]),
        commit=f"results of commits {tex(', '.join(_run('table1')['commit']))}",
        keys=[item["key"] for item in bibliography],
        bibliography=bibliography,
        answer=tex(sentence(claims)),
        claims=claims,
        comparison=rows,
        tolerance=TOLERANCE,
        confidence=f"{100 * config['metrics']['confidence']:g}",
        config=config,
        activation=config["model"].get("options", {}).get("activation") or config["model"].get("activation", "tanh"),
        eps=", ".join(f"{eps:.2f}" for eps in config["grid"]["eps"]),
        settings=tex(settings),
        table1=_run("table1"),
        grid=grid,
        figures=[
            {"file": path.name, "caption": find(path.stem).caption.partition(". ")[2], "width": width}
            for path, width in zip(pictures, names.values(), strict=True)
        ],
    )
    return text, pictures


def main(folder: Path) -> Path:
    """Write the article; returns its PDF, or its LaTeX where there is none to run."""
    text, pictures = article()
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "article.tex"
    source.write_text(text, encoding="utf-8")
    for picture in pictures:
        shutil.copy(picture, folder)
    if shutil.which("pdflatex") is None:
        print(f"{source}: no pdflatex here (Debian: texlive-latex-recommended), so no PDF", file=sys.stderr)
        return source
    for _ in range(2):  # references are known the second time
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", source.name]
        done = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", errors="replace", check=False)
        if done.returncode:
            raise SystemExit(f"{source}: LaTeX failed.\n{done.stdout[-3000:]}")
    return source.with_suffix(".pdf")


if __name__ == "__main__":
    print(main(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build" / "article")))
