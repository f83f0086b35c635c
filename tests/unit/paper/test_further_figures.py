import itertools
import math

import pandas as pd
import pytest
from matplotlib import pyplot as plt

from jacobian_ensembles.paper.catalogue import find
from jacobian_ensembles.paper.further_figures import (
    plot_ablation,
    plot_budget,
    plot_theory,
    plot_worst_of_k,
)
from jacobian_ensembles.stages.plot_figure import plot_figure


@pytest.fixture(autouse=True)
def no_open_figures():
    yield
    plt.close("all")


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
    return pd.concat(parts)


TABLES = {"theory": jacobian, "ablation": ablation, "budget": ablation, "worst_of_k": worst_of_k}


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
    (legend,) = [ax.get_legend() for ax in plot_theory(table).axes if ax.get_legend()]
    assert [text.get_text() for text in legend.get_texts()][:2] == ["λ = 0", "λ = 0.1"]


def test_ablation_has_a_panel_per_model_and_a_row_per_variant():
    fig = plot_ablation(ablation())
    panels = [ax for ax in fig.axes if ax.get_visible()]
    assert len(panels) == 8
    assert [t.get_text() for t in panels[0].get_yticklabels()] == ["default", "clip"]
    worst = next(line for line in panels[0].lines if line.get_marker() == "o")
    assert worst.get_xdata().tolist() == pytest.approx([30, 50])


def test_budget_has_a_panel_per_model_and_a_line_per_variant_from_clean_accuracy():
    table = pd.concat([ablation(), ablation().assign(eps=0.1, worst_accuracy=0.6)])
    fig = plot_budget(table)
    panels = [ax for ax in fig.axes if ax.get_visible()]
    assert len(panels) == 8
    default, clip = panels[0].lines
    assert default.get_xdata().tolist() == [0, 0.1, 0.15]
    assert default.get_ydata().tolist() == pytest.approx([90, 60, 30])
    assert clip.get_ydata().tolist() == pytest.approx([90, 60, 50])


def test_of_many_variants_the_budget_names_the_first_the_strongest_and_the_weakest():
    table = ablation()
    more = [
        table[table["variant"] == "default"].assign(variant=f"v{i}", worst_accuracy=0.28 - 0.01 * i) for i in range(5)
    ]
    fig = plot_budget(pd.concat([table, *more]))
    (legend,) = [ax.get_legend() for ax in fig.axes if ax.get_legend()]
    assert [text.get_text() for text in legend.get_texts()] == ["default", "clip", "v4", "others"]
    assert len(fig.axes[0].lines) == 7
    assert [t.get_text() for t in plot_ablation(pd.concat([table, *more])).axes[0].get_yticklabels()] == [
        "v4", "v3", "v2", "v1", "v0", "default", "clip",
    ]  # fmt: skip


def many_models():
    """As :func:`ablation`, of 2 methods with 4 values of M each and two lambda: 16 models of each dataset."""
    parts = []
    for members in (1, 3, 6, 9):
        table = ablation()
        parts.append(table.assign(members=members, worst_accuracy=table["worst_accuracy"] - 0.01 * members))
    return pd.concat(parts)


@pytest.mark.parametrize("plot", [plot_ablation, plot_budget])
def test_of_several_trainings_the_mean_is_shown(plot):
    table = ablation()
    second = table.assign(repetition=1, worst_accuracy=table["worst_accuracy"] + 0.1)
    panel = plot(pd.concat([table, second])).axes[0]
    if plot is plot_ablation:
        worst = next(line for line in panel.lines if line.get_marker() == "o")
        assert worst.get_xdata().tolist() == pytest.approx([35, 55])
    else:
        assert [line.get_ydata().tolist() for line in panel.lines] == [
            pytest.approx([90, 35]), pytest.approx([90, 55])
        ]  # fmt: skip


@pytest.mark.parametrize("plot", [plot_ablation, plot_budget])
def test_of_many_models_the_means_of_each_lambda_are_shown(plot):
    panels = [ax for ax in plot(many_models()).axes if ax.get_visible()]
    assert [ax.get_title() for ax in panels] == [
        f"{dataset}\nλ={lam}" for dataset in ("MNIST", "Fashion-MNIST") for lam in ("0.00", "0.10")
    ]
    mean = 30 - (1 + 3 + 6 + 9) / 4
    if plot is plot_ablation:
        worst = next(line for line in panels[0].lines if line.get_marker() == "o")
        assert worst.get_xdata().tolist() == pytest.approx([mean, mean + 20])
    else:
        assert panels[0].lines[0].get_ydata().tolist() == pytest.approx([90, mean])


def test_the_papers_number_is_in_the_legend_where_any_panel_has_it():
    table = pd.concat([ablation().assign(eps=eps) for eps in (0.1, 0.15, 0.2, 0.25)])
    alone = table[(table["ensemble"] == "voting") & (table["dataset"] == "mnist")]  # the paper has it at λ = 0 only
    labels = [t.get_text() for ax in plot_ablation(alone).axes if ax.get_legend() for t in ax.get_legend().get_texts()]
    assert labels == ["mean of seeds", "worst seed", "clean", "paper"]
    other = alone[alone["lambda"] > 0]
    labels = [t.get_text() for ax in plot_ablation(other).axes if ax.get_legend() for t in ax.get_legend().get_texts()]
    assert labels == ["mean of seeds", "worst seed", "clean"]


def test_worst_of_k_falls_from_zero():
    fig = plot_worst_of_k(worst_of_k())
    assert len(fig.axes) == 4
    mean = fig.axes[0].lines[-1]
    assert mean.get_xdata().tolist() == [1, 2, 5]
    assert mean.get_ydata().tolist() == pytest.approx([0, -1, -4])


@pytest.mark.parametrize("name", TABLES)
def test_every_supplementary_figure_is_written_twice_and_named(tmp_path, name):
    TABLES[name]().to_csv(tmp_path / "t.csv", index=False)
    files = [tmp_path / f"f.{kind}" for kind in ("pdf", "png")]
    contents = []
    for _ in range(2):
        (source,) = find(name).inputs
        plot_figure(name, {source: tmp_path / "t.csv"}, *files, run="mine", banner="QUICK", settings={})
        contents.append([f.read_bytes() for f in files])
    assert contents[0] == contents[1]
    assert contents[0][0].startswith(b"%PDF")
    assert contents[0][1].startswith(b"\x89PNG")
