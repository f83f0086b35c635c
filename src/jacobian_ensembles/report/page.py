"""One self-contained HTML page of a run: what ran, the tables and figures, the worst perturbations, the trade-off."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import jinja2
import pandas as pd
import yaml

import jacobian_ensembles
from jacobian_ensembles.paper.catalogue import FIGURES
from jacobian_ensembles.paper.labels import norm_note, run_note, short_number
from jacobian_ensembles.paper.style import picture
from jacobian_ensembles.report.citing import citations
from jacobian_ensembles.report.contents import RunRecord
from jacobian_ensembles.report.describe import group_titles, rows_of, sections
from jacobian_ensembles.report.gallery import data_uri
from jacobian_ensembles.report.headline import defence, headline
from jacobian_ensembles.report.training import plot_training, seconds_per_epoch, training_curves
from jacobian_ensembles.report.verdicts import sentence, verdicts
from jacobian_ensembles.report.work import NO_COMMIT, duration, jobs_by_rule, jobs_in_sum
from jacobian_ensembles.robustness.stress_tables import accuracy_table, flags_table, rules


def _script_json(value: Any) -> str:
    """JSON that may stand inside a script element."""
    return json.dumps(value).replace("<", "\\u003c")


def _figures(record: RunRecord, judged: bool) -> list[dict[str, str]]:
    known = {item.name: item for item in FIGURES}
    return [
        {
            "uri": data_uri(png, "image/png"),
            "caption": known[name].caption if name in known else record.captions.get(name, name),
            "alt": known[name].alt if name in known else record.captions.get(name, name),
        }
        for name, png in record.figures
        if judged or name != "claim_effects"  # nothing but empty panels, or effects that no verdict rests on
    ]


def _stress(table: pd.DataFrame | None) -> dict[str, Any] | None:
    """What the page says about every attack of a run, and the flags that they raise."""
    if table is None:
        return None
    tables = [
        {"eps": short_number(eps), "html": accuracy_table(table, eps).to_html(index=False, border=0, justify="left")}
        for eps in sorted(set(table.loc[table["eps"] > 0, "eps"]))
    ]
    return {"flags": rows_of(flags_table(table)), "rules": rules(), "tables": tables}


def render(record: RunRecord) -> str:
    """Render the page of a run.

    Args:
        record: What it shows.

    Returns:
        HTML that needs no network and no other file.
    """
    rows, facts = jobs_by_rule(record.provenance) if record.provenance else jobs_in_sum(record.made)
    described = sections(record)
    curves = training_curves(record.provenance)
    training = None
    if len(curves):
        picture_of_it = data_uri(picture(plot_training(curves), "png"), "image/png")
        training = {"uri": picture_of_it, "seconds": seconds_per_epoch(curves)}
    claims = None
    if record.claims is not None and record.effects is not None:
        claims = verdicts(record.claims, record.effects)
    judged = any(claim["tone"] != "open" for claim in claims or ())
    comparison = record.comparison.drop(columns=["run", "banner"])
    beside = bool(comparison.filter(like="our_").notna().any(axis=None))  # a model of the paper's is in the run
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters["time"] = duration
    template = files("jacobian_ensembles.report").joinpath("report.html.j2").read_text(encoding="utf-8")
    return environment.from_string(template).render(
        run=record.run,
        banner=record.banner,
        note=run_note(record.summary, record.run, ""),
        eps=short_number(record.eps),
        clean_weight=record.clean_weight,
        config=yaml.safe_dump(json.loads(json.dumps(record.config)), sort_keys=False, allow_unicode=True),
        seeds={
            "Base seed": record.config["seed"],
            "Attack seeds per model and ε": int(record.summary["seeds"].min()),
            "Trainings per model": int(record.summary["repetitions"].min()),
        },
        stages=rows,
        each=bool(record.provenance),
        several=record.summary["repetitions"].max() > 1,
        uaps=bool(record.uaps),
        examples=bool(record.examples),
        per_class=any(section["per_class"] for section in described),
        training=training,
        facts=facts,
        found=headline(record.summary, record.config, record.classes),
        defence=defence(record.config),
        claims=claims,
        answer=None if claims is None or not judged else sentence(claims),
        stress=_stress(record.stress),
        other_norm=norm_note(record.summary),
        groups={**group_titles(record), "best": "Best three"},
        comparison=beside and comparison.to_html(index=False, border=0, na_rep="–", justify="left", classes="plain"),
        figures=_figures(record, judged),
        sections=described,
        ranking=_script_json({s["id"]: s["models"] for s in described}),
        citations=citations(jacobian_ensembles.__version__, [c for c in facts.get("Commit", []) if c != NO_COMMIT]),
    )
