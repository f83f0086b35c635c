"""The configurations that the repository ships: config.yaml with each overlay of workflow/presets/."""

from pathlib import Path

import pytest
import yaml

from jacobian_ensembles.config.schema import load_config
from jacobian_ensembles.training.objectives.registry import OBJECTIVES

ROOT = Path(__file__).resolve().parents[3]


def merged(base, overlay):
    """What Snakemake does with --configfile: sections merge, lists and values replace."""
    if not (isinstance(base, dict) and isinstance(overlay, dict)):
        return overlay
    return {**base, **{key: merged(base.get(key), value) for key, value in overlay.items()}}


@pytest.mark.parametrize("preset", sorted((ROOT / "workflow" / "presets").glob("*.yaml")), ids=lambda p: p.stem)
def test_presets_state_only_what_differs(preset):
    base, overlay = yaml.safe_load((ROOT / "config.yaml").read_text()), yaml.safe_load(preset.read_text())
    for name, section in overlay.items():
        for key, value in section.items():
            assert base[name].get(key) != value, f"{name}.{key}"
    assert overlay["run"]["name"] == preset.stem


@pytest.mark.parametrize(
    ("preset", "models"),
    [
        (None, 2 * 3 * 4 * 8),
        ("quick", 2 * 3 * 2 * 3),
        ("smoke", 6),
        ("table1", 12),
        ("grid", 2 * 3 * 4 * 8),
        ("attacks", 12),
        ("stress", 12),
        ("lambdas", 2 * 5),
        ("repetitions", 9 * 5),
        ("recipe", 2 * 3 * 4 * 3),
    ],
)
def test_every_shipped_configuration_is_valid(preset, models):
    raw = yaml.safe_load((ROOT / "config.yaml").read_text())
    if preset:
        raw = merged(raw, yaml.safe_load((ROOT / "workflow" / "presets" / f"{preset}.yaml").read_text()))
    assert len(load_config(raw).cells) == models


def test_the_table1_preset_is_the_papers_table():
    paper = (ROOT / "src" / "jacobian_ensembles" / "paper" / "table1.csv").read_text().splitlines()[1:]
    rows = [line.split(",") for line in paper]
    wanted = {(d, "voting" if e == "none" else e, int(m), float(lam)) for d, _, e, m, lam, *_ in rows}
    cells = yaml.safe_load((ROOT / "workflow" / "presets" / "table1.yaml").read_text())["grid"]["cells"]
    assert {(c["dataset"], c["ensemble"], c["members"], float(c["lambda"])) for c in cells} == wanted


DEFENCES = sorted((ROOT / "workflow" / "presets" / "defences").glob("*.yaml"))


@pytest.mark.parametrize("preset", DEFENCES, ids=lambda p: p.stem)
def test_a_defence_differs_from_the_others_in_its_objective_and_its_four_strengths(preset):
    overlay, raw = yaml.safe_load(preset.read_text()), yaml.safe_load((ROOT / "config.yaml").read_text())
    assert set(overlay) <= {"run", "grid", "training"}
    assert set(overlay["run"]) == {"name"}
    assert set(overlay["grid"]) <= {"lambdas", "members"}
    assert set(overlay.get("training", {})) <= {"objective", "options"}
    raw = merged(merged(raw, yaml.safe_load((ROOT / "workflow" / "presets" / "defences.yaml").read_text())), overlay)
    cfg = load_config(raw)
    assert cfg.run.name == f"defences-{preset.stem}"
    assert cfg.training.objective == (preset.stem if preset.stem in OBJECTIVES else preset.stem.rpartition("_")[0])
    assert len([strength for strength in cfg.grid.lambdas if strength]) == 4
    assert (0 in cfg.grid.lambdas) == (preset.stem == "jacobian")  # plain training is the same whatever the objective
    assert cfg.repetitions == 3


@pytest.mark.parametrize(
    "preset", sorted((ROOT / "workflow/presets/defences/equal_time").glob("*.yaml")), ids=lambda p: p.stem
)
def test_at_equal_time_a_defence_is_trained_as_at_equal_epochs_but_longer_or_shorter(preset):
    source = ROOT / "workflow/presets/defences" / f"{preset.stem.replace('plain', 'jacobian')}.yaml"
    overlay, usual = yaml.safe_load(preset.read_text()), yaml.safe_load(source.read_text())
    told = f"{overlay['training']['epochs']} epoch{'s'[: overlay['training']['epochs'] > 1]}"
    assert overlay["run"]["name"] == f"defences-equal_time-{preset.stem}"
    assert overlay["run"]["banner"] == f"3 attack seeds, not 50; {told}"
    strengths = [0] if preset.stem == "plain" else usual["grid"]["lambdas"]
    raw = yaml.safe_load((ROOT / "config.yaml").read_text())
    raw = merged(raw, yaml.safe_load((ROOT / "workflow/presets/defences.yaml").read_text()))
    cfg = load_config(merged(raw, yaml.safe_load(preset.read_text())))
    assert {cell.lambda_jr for cell in cfg.cells} <= {*strengths}
    assert set(overlay["grid"]) <= {"cells", "lambdas"}
    assert cfg.repetitions == 3
    assert isinstance(overlay["training"].pop("epochs"), int)
    assert overlay["training"] == usual.get("training", {})


@pytest.mark.parametrize("preset", sorted((ROOT / "workflow/presets/certified").glob("*.yaml")), ids=lambda p: p.stem)
def test_certified_runs_differ_in_objective_and_strengths_alone(preset):
    overlay = yaml.safe_load(preset.read_text())
    assert overlay["run"] == {"name": f"certified-{preset.stem}"}
    assert overlay["training"] == {"objective": preset.stem}
    assert set(overlay) == {"run", "training", "grid"}
    raw = yaml.safe_load((ROOT / "config.yaml").read_text())
    cfg = load_config(
        merged(merged(raw, yaml.safe_load((ROOT / "workflow/presets/certified.yaml").read_text())), overlay)
    )
    assert cfg.metrics.certify
    assert cfg.model.activation == "relu"
    assert {(cell.members, cell.repetition) for cell in cfg.cells} == {(m, r) for m in (1, 3) for r in range(3)}


def test_every_built_in_objective_is_among_the_defences():
    # what ibp gives is bounds, of ReLU networks above all: its place is presets/certified
    assert {preset.stem for preset in DEFENCES} == {*OBJECTIVES, "universal_jacobian", "decorrelated_loss"} - {"ibp"}
