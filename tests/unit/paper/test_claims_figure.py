from helpers_claims import tables

from jacobian_ensembles.evaluation.summary import summarize
from jacobian_ensembles.paper.catalogue import find
from jacobian_ensembles.paper.claims import claims, effects
from jacobian_ensembles.paper.claims_figure import claim_effects
from jacobian_ensembles.stages.plot_figure import plot_figure


def made(**kwargs):
    found = tables(**kwargs)
    found["summary"] = summarize(found["metrics"], 0.5, 0.95)
    settings = {"run": "mine", "banner": "QUICK", "clean_weight": 0.5, "confidence": 0.95}
    return found | {"claims": claims(found, **settings).frame, "effects": effects(found, **settings).frame}


def test_every_claim_has_a_panel_with_a_row_per_effect():
    drawn = made()
    primary = drawn["effects"][drawn["effects"]["analysis"] == "primary"]
    axes = claim_effects(drawn).axes
    assert len(axes) == 14
    for ax, claim in zip(axes, drawn["claims"].itertuples(), strict=True):
        rows = primary[primary["claim"] == claim.claim]
        assert " ".join(ax.get_title(loc="left").split()).startswith(f"{claim.claim}: {claim.verdict}. ")
        assert [label.get_text() for label in ax.get_yticklabels()] == rows["part"].tolist()
        marks = [line for line in ax.lines if line.get_linestyle() == "--"]
        for y, (effect, mark) in enumerate(zip(rows.itertuples(), marks, strict=True)):
            assert set(mark.get_xdata()) == {effect.needed}
            here = [line for line in ax.lines if set(line.get_ydata()) == {y}]
            if abs(effect.value) > 12 * rows["needed"].abs().max():
                assert [line.get_marker() for line in here] == [">"]
                assert f"{effect.value:+.0f}" in {text.get_text() for text in ax.texts}
                continue
            bar, dot = here
            assert list(bar.get_xdata()) == [effect.low, effect.high]
            assert list(dot.get_xdata()) == [effect.value]
    assert axes[0].get_ylim()[0] > axes[0].get_ylim()[1]  # the first effect is on top


def test_a_single_value_is_hollow_and_has_no_bar():
    ax = claim_effects(made(trainings=1, methods=("voting",))).axes[0]  # C1: one method in one training
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    assert {line.get_markerfacecolor() for line in dots} == {"white"}
    assert (len(dots), len(ax.lines)) == (2, 2 + 2 + 1)  # no bars


def test_what_was_not_measured_is_said():
    axes = claim_effects(made(members=(1,), lambdas=(0.0,))).axes
    assert [text.get_text() for text in axes[3].texts] == ["not measured"]


def test_equal_numbers_draw_equal_bytes(tmp_path):
    inputs = {name: tmp_path / f"{name}.csv" for name in find("claim_effects").inputs}
    found = made()
    for name, path in inputs.items():
        found[name].to_csv(path, index=False)
    drawn = []
    for k in range(2):
        files = tmp_path / f"{k}.pdf", tmp_path / f"{k}.png"
        plot_figure("claim_effects", inputs, *files, run="mine", banner="QUICK", settings={})
        drawn.append([file.read_bytes() for file in files])
    assert drawn[0] == drawn[1]
