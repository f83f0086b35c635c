import itertools
import math

import pandas as pd
import pytest

from jacobian_ensembles.paper.catalogue import find
from jacobian_ensembles.paper.further_figures import (
    plot_ablation,
    plot_budget,
    plot_certified,
    plot_theory,
    plot_worst_of_k,
)
from jacobian_ensembles.stages.plot_figure import plot_figure


def cells(members=(1, 3), lambdas=(0.0, 0.1)):
    axes = itertools.product(("mnist", "fashion_mnist"), ("bagging", "voting"), members, lambdas)
    return pd.DataFrame(axes, columns=["dataset", "ensemble", "members", "lambda"]).assign(repetition=0)


def jacobian():
    table = cells()
    for source, power in (("ensemble", 0.5), ("lower", 1)):
        for moment, factor in (("mean", 1), ("variance", 2)):
            table[f"{source}_{moment}"] = table["members"].astype(float) ** (-power * factor)
    table = table.assign(learner_mean=1.0, learner_variance=1.0, upper_mean=1.0, upper_variance=1.0, images=50)
    return table.assign(mu=0.0, sigma=0.5, cosine=[0.4 if m > 1 else math.nan for m in table["members"]])


def ablation():
    parts = [
        cells(members=(1,)).assign(
            variant=v, eps=0.15, seeds=3, clean_accuracy=0.9, worst_accuracy=w, mean_accuracy=w + 0.1,
            best_accuracy=w + 0.2,
        )
        for v, w in (("default", 0.3), ("clip", 0.5))
    ]  # fmt: skip
    return pd.concat(parts)


def worst_of_k():
    parts = [
        cells().assign(eps=e, seeds=5, count=k, expected_worst=0.5 - 0.01 * k) for e in (0.1, 0.2) for k in (1, 2, 5)
    ]
    return pd.concat(parts, ignore_index=True)


def certified():
    table = pd.concat(
        [cells().assign(eps=eps, worst_accuracy=0.9 - eps, images=100) for eps in (0.1, 0.2)], ignore_index=True
    )
    return table.assign(certified_accuracy=table["worst_accuracy"] - table["lambda"])


def test_the_band_reaches_from_what_is_proved_to_what_the_attack_left():
    axes = plot_certified(certified()).axes
    assert len(axes) == 2 * 2  # two datasets, two M
    low, high, low_of_second, high_of_second = (line.get_ydata().tolist() for line in axes[0].lines)
    assert low == pytest.approx([80, 70])
    assert high == pytest.approx([80, 70])
    assert low_of_second == pytest.approx([70, 60])
    assert high_of_second == pytest.approx([80, 70])


def test_no_band_is_shaded_where_nothing_is_certified():
    table = certified().assign(certified_accuracy=lambda t: 0.2 * (t["lambda"] > 0))
    nothing, something = (band.get_paths() for band in plot_certified(table).axes[0].collections)
    assert (len(nothing), len(something)) == (0, 1)


TABLES = {
    "certified": certified,
    "theory": jacobian,
    "ablation": ablation,
    "budget": ablation,
    "worst_of_k": worst_of_k,
}


def test_theory_shows_measured_ratios_and_the_bound():
    fig = plot_theory(jacobian())
    axes = fig.axes
    assert len(axes) == 4 * 2  # mean and variance on two datasets, two methods
    measured, bound = axes[0].lines[0], axes[0].lines[1]
    assert measured.get_ydata().tolist() == pytest.approx([1, 3**-0.5])
    assert bound.get_ydata().tolist() == pytest.approx([1, 1 / 3])
    assert axes[2].lines[1].get_ydata().tolist() == pytest.approx([1, 1 / 9])
    correlated = (1 + 2 * 0.4) / 3  # the variance of a mean of three with correlation 0.4
    assert axes[0].lines[2].get_ydata().tolist() == pytest.approx([1, correlated])
    assert axes[2].lines[2].get_ydata().tolist() == pytest.approx([1, correlated**2])


def test_the_legend_of_theory_names_every_lambda_wherever_it_occurs():
    table = jacobian()
    table = table[(table["ensemble"] == "bagging") | (table["lambda"] == 0)]
    (legend,) = plot_theory(table).legends
    assert [text.get_text() for text in legend.get_texts()][:2] == ["λ = 0", "λ = 0.1"]


def dots(panel, marker="o"):
    """By colour, where the dots of a panel of variants stand: accuracy by row."""
    return {
        line.get_color(): dict(zip(line.get_ydata().round().tolist(), line.get_xdata().tolist(), strict=True))
        for line in panel.lines
        if line.get_marker() == marker
    }


def test_ablation_has_a_panel_per_dataset_a_row_per_variant_and_a_colour_per_lambda():
    table = ablation()
    table.loc[table["lambda"] > 0, "worst_accuracy"] += 0.05
    fig = plot_ablation(table)
    assert [ax.get_title() for ax in fig.axes] == ["MNIST", "Fashion-MNIST"]
    assert [t.get_text() for t in fig.axes[0].get_yticklabels()] == ["no attack", "default", "clip"]
    assert list(dots(fig.axes[0]).values()) == [pytest.approx({1: 30, 2: 50}), pytest.approx({1: 35, 2: 55})]
    assert list(dots(fig.axes[0], "D").values()) == [pytest.approx({0: 90})] * 2
    (legend,) = fig.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "λ = 0", "λ = 0.1", "worst seed", "mean of seeds", "to the best seed",
    ]  # fmt: skip


def test_budget_has_a_row_per_dataset_and_a_line_per_variant_from_clean_accuracy():
    table = pd.concat([ablation(), ablation().assign(eps=0.1, worst_accuracy=0.6)])
    panels = plot_budget(table).axes
    assert [ax.get_title() for ax in panels] == [
        f"{dataset}, λ = {lam}" for dataset in ("MNIST", "Fashion-MNIST") for lam in ("0", "0.1")
    ]
    default, clip = panels[0].lines
    assert default.get_xdata().tolist() == [0, 0.1, 0.15]
    assert default.get_ydata().tolist() == pytest.approx([90, 60, 30])
    assert clip.get_ydata().tolist() == pytest.approx([90, 60, 50])


def test_budget_shows_the_smallest_and_the_largest_lambda_of_each_dataset():
    middle = ablation().assign(**{"lambda": 0.05})
    table = pd.concat([ablation(), middle])
    table = table[(table["dataset"] == "mnist") | (table["lambda"] == 0.05)]
    panels = [ax for ax in plot_budget(table).axes if ax.get_visible()]
    assert [ax.get_title() for ax in panels] == ["MNIST, λ = 0", "MNIST, λ = 0.1", "Fashion-MNIST, λ = 0.05"]


def test_of_many_variants_the_budget_names_the_first_the_strongest_and_the_weakest():
    table = ablation()
    more = [
        table[table["variant"] == "default"].assign(variant=f"v{i}", worst_accuracy=0.28 - 0.01 * i) for i in range(5)
    ]
    fig = plot_budget(pd.concat([table, *more]))
    (legend,) = fig.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "default", "v4", "clip", "others", "band: from the worst seed to the best",
    ]  # fmt: skip
    assert len(fig.axes[0].lines) == 7
    assert [t.get_text() for t in plot_ablation(pd.concat([table, *more])).axes[0].get_yticklabels()] == [
        "no attack", "v4", "v3", "v2", "v1", "v0", "default", "clip",
    ]  # fmt: skip


def many_models():
    """As :func:`ablation`, of 2 methods with 4 values of M each and two lambda: 16 models of each dataset."""
    parts = []
    for members in (1, 3, 6, 9):
        table = ablation()
        parts.append(table.assign(members=members, worst_accuracy=table["worst_accuracy"] - 0.01 * members))
    return pd.concat(parts)


@pytest.mark.parametrize("plot", [plot_ablation, plot_budget])
def test_of_several_trainings_and_models_the_mean_is_shown(plot):
    table = many_models()
    second = table.assign(repetition=1, worst_accuracy=table["worst_accuracy"] + 0.1)
    mean = 30 - (1 + 3 + 6 + 9) / 4 + 5
    panel = plot(pd.concat([table, second])).axes[0]
    if plot is plot_ablation:
        assert dots(panel)[next(iter(dots(panel)))] == pytest.approx({1: mean, 2: mean + 20})
    else:
        assert [line.get_ydata().tolist() for line in panel.lines] == [
            pytest.approx([90, mean]), pytest.approx([90, mean + 20])
        ]  # fmt: skip


def test_the_papers_number_has_a_row_where_it_has_every_model_of_a_lambda():
    table = pd.concat([ablation().assign(eps=eps) for eps in (0.1, 0.15, 0.2, 0.25)])
    alone = table[(table["ensemble"] == "voting") & (table["dataset"] == "mnist")]  # the paper has it at λ = 0 only
    ax = plot_ablation(alone).axes[0]
    assert [t.get_text() for t in ax.get_yticklabels()][:2] == ["no attack", "the paper"]
    assert next(iter(dots(ax, "x").values())) == pytest.approx({1: 31.9})
    for other in (alone[alone["lambda"] > 0], table[table["dataset"] == "mnist"]):  # bagging's is another
        assert "the paper" not in [t.get_text() for t in plot_ablation(other).axes[0].get_yticklabels()]


def test_worst_of_k_falls_from_zero():
    table = worst_of_k()
    table.loc[table["ensemble"] == "bagging", "expected_worst"] -= 0.02 * (table["count"] - 1)
    panels = plot_worst_of_k(table).axes
    assert [ax.get_title() for ax in panels] == ["MNIST", "Fashion-MNIST"]
    line, bars = panels[0].lines[0], panels[0].collections[0].get_segments()
    assert line.get_xdata().tolist() == [1, 2, 5]
    assert line.get_ydata().tolist() == pytest.approx([0, -2, -8])  # the mean of -1 and -3, of -4 and -12
    assert bars[2].tolist() == [pytest.approx([5, -12]), pytest.approx([5, -4])]


@pytest.mark.parametrize("name", TABLES)
def test_every_supplementary_figure_is_written_twice_and_named(tmp_path, name):
    TABLES[name]().to_csv(tmp_path / "t.csv", index=False)
    files = [tmp_path / f"f.{kind}" for kind in find(name).kinds]
    contents = []
    for _ in range(2):
        (source,) = find(name).inputs
        plot_figure(name, {source: tmp_path / "t.csv"}, *files, run="mine", banner="QUICK", settings={})
        contents.append([f.read_bytes() for f in files])
    assert contents[0] == contents[1]
    assert contents[0][0].startswith(b"%PDF")
    assert contents[0][1].startswith(b"\x89PNG")
