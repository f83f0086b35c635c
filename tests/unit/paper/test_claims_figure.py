from helpers_claims import grid

from jacobian_ensembles.evaluation.summary import summarize
from jacobian_ensembles.paper.catalogue import find
from jacobian_ensembles.paper.claims import check_claims
from jacobian_ensembles.paper.claims_figure import plot_claims
from jacobian_ensembles.paper.effects import trainings_of
from jacobian_ensembles.stages.plot_figure import plot_figure


def checked(**kwargs):
    return check_claims(trainings_of(*grid(**kwargs), 0.5), 0.95)


def test_every_claim_has_a_panel_with_a_row_per_effect():
    claims = checked()
    axes = plot_claims(claims).axes
    assert len(axes) == 14
    for ax, claim in zip(axes, claims, strict=True):
        assert " ".join(ax.get_title(loc="left").split()).startswith(f"{claim.row.claim}: {claim.row.verdict}. ")
        assert [label.get_text() for label in ax.get_yticklabels()] == [effect.part for effect in claim.effects]
        marks = [line for line in ax.lines if line.get_linestyle() == "--"]
        for y, (effect, mark) in enumerate(zip(claim.effects, marks, strict=True)):
            assert set(mark.get_xdata()) == {effect.needed}
            here = [line for line in ax.lines if set(line.get_ydata()) == {y}]
            if abs(effect.mean) > 12 * max(abs(other.needed) for other in claim.effects):
                assert [line.get_marker() for line in here] == [">"]
                assert f"{effect.mean:+.0f}" in {text.get_text() for text in ax.texts}
                continue
            bar, dot = here
            assert list(bar.get_xdata()) == [effect.low, effect.high]
            assert list(dot.get_xdata()) == [effect.mean]
    assert axes[0].get_ylim()[0] > axes[0].get_ylim()[1]  # the first effect is on top


def test_a_single_value_is_hollow_and_has_no_bar():
    claims = checked(trainings=1)
    ax = plot_claims(claims).axes[6]  # C7: chosen and measured in one training
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    far = [line for line in ax.lines if line.get_marker() == ">"]
    assert dots
    assert {line.get_markerfacecolor() for line in dots} == {"white"}
    assert len(dots) + len(far) == 6
    assert len(ax.lines) == 6 + 6 + 1  # no bars


def test_what_was_not_measured_is_said():
    axes = plot_claims(checked(members=(1,), lambdas=(0.0,))).axes
    assert [text.get_text() for text in axes[3].texts] == ["not measured"]


def test_equal_numbers_draw_equal_bytes(tmp_path):
    metrics, jacobian = grid()
    inputs = {name: tmp_path / f"{name}.csv" for name in ("metrics", "summary", "jacobian")}
    tables = {"metrics": metrics, "summary": summarize(metrics, 0.5, 0.95), "jacobian": jacobian}
    for name, table in tables.items():
        table.to_csv(inputs[name], index=False)
    settings = {name: {"clean_weight": 0.5, "confidence": 0.95}[name] for name in find("claim_effects").settings}
    drawn = []
    for k in range(2):
        files = tmp_path / f"{k}.pdf", tmp_path / f"{k}.png"
        plot_figure("claim_effects", inputs, *files, run="mine", banner="QUICK", settings=settings)
        drawn.append([file.read_bytes() for file in files])
    assert drawn[0] == drawn[1]
