import itertools

import pandas as pd
import pytest
from matplotlib.figure import Figure

from jacobian_ensembles.evaluation.statistics import wilson_interval
from jacobian_ensembles.evaluation.summary import summarize
from jacobian_ensembles.paper import figures
from jacobian_ensembles.paper.catalogue import find
from jacobian_ensembles.paper.figures import clean_accuracy, plot_against_lambda, plot_tradeoff, robustness, tradeoff
from jacobian_ensembles.paper.labels import method_colours
from jacobian_ensembles.stages.plot_figure import plot_figure

#: Each figure, drawn from metrics.csv with the eps of Figure 2.
FIGURES = {
    "figure1_clean_accuracy": lambda frame, eps: clean_accuracy({"metrics": frame}, 0.95),
    "figure2_robustness": lambda frame, eps: robustness({"metrics": frame}, eps, 0.95),
    "figure3_tradeoff": lambda frame, eps: tradeoff({"metrics": frame}, 0.95),
}


def metrics(datasets=("mnist", "fashion_mnist"), members=(1, 3), lambdas=(0.0, 0.1, 2.0), eps=(0.1, 0.15)):
    rows = []
    grid = itertools.product(datasets, ("bagging", "snapshot", "voting"), members, lambdas, eps)
    for i, (dataset, ensemble, m, lam, e) in enumerate(grid):
        clean, worst = 0.9 - 0.02 * lam + 0.001 * m, 0.3 + 0.0005 * i
        rows.append(
            {"dataset": dataset, "ensemble": ensemble, "members": m, "lambda": lam, "repetition": 0,
             "eps": e, "seeds": 3,
             "images": 10_000, "clean_accuracy": clean, "clean_low": clean - 0.01, "clean_high": clean + 0.01,
             "worst_accuracy": worst, "worst_low": worst - 0.02, "worst_high": worst + 0.02}
        )  # fmt: skip
    return pd.DataFrame(rows)


def test_accuracy_is_drawn_against_lambda_for_every_model():
    frame = metrics(eps=(0.15,))
    fig = plot_against_lambda(frame, "worst_accuracy", "Accuracy (%)", 0.95)
    axes = fig.axes
    assert len(axes) == 6
    assert [ax.get_title() for ax in axes[:3]] == ["Bagging", "Snapshot", "Voting"]
    assert axes[0].get_ylabel() == "MNIST\nAccuracy (%)"
    assert axes[3].get_ylabel() == "Fashion-MNIST\nAccuracy (%)"
    assert "λ" in axes[3].get_xlabel()
    model = (frame["dataset"] == "fashion_mnist") & (frame["ensemble"] == "snapshot") & (frame["members"] == 3)
    line = next(c for c in axes[4].containers if c.get_label() == "M = 3").lines[0]
    assert line.get_xdata().tolist() == [0, 0.1, 2]
    assert line.get_ydata().tolist() == pytest.approx((100 * frame[model]["worst_accuracy"]).tolist())


def test_axes_name_what_is_not_the_papers():
    frame = metrics(eps=(0.15,)).assign(norm="l2")
    axes = robustness({"metrics": frame}, 0.15, 0.95, "noise").axes
    assert axes[0].get_ylabel() == "MNIST\nUnder UAP, ε (L2) = 0.15 (%)"
    assert axes[3].get_xlabel() == "Strength λ of 'noise'"
    assert plot_tradeoff(frame, 0.95).axes[0].get_title() == "ε (L2) = 0.15"


def test_members_are_told_apart_without_colour():
    fig = plot_against_lambda(metrics(members=(1, 3, 6, 9), eps=(0.15,)), "clean_accuracy", "", 0.95)
    lines = [c.lines[0] for c in fig.axes[0].containers]
    assert len({line.get_marker() for line in lines}) == 4
    assert len({str(line._dash_pattern) for line in lines}) == 4


def test_tradeoff_has_a_column_per_eps_and_a_label_per_lambda():
    fig = plot_tradeoff(metrics(), 0.95)
    assert [ax.get_title() for ax in fig.axes[:2]] == ["ε = 0.10", "ε = 0.15"]
    for ax in fig.axes:
        assert [t.get_text() for t in ax.texts] == ["0", "0.1", "2"]
        assert len(ax.collections[0].get_offsets()) == 18
    assert fig.axes[0].get_ylabel() == "MNIST\nClean accuracy (%)"
    assert fig.axes[2].get_xlabel() == "Accuracy under\nworst UAP (%)"


def test_labels_of_lambda_stand_outside_of_the_bend():
    """Level at first, then steep: above the points in two rows, then to their right."""
    frame = metrics(datasets=("mnist",), members=(1,), lambdas=(0.0, 0.1, 0.2, 1.0, 2.0), eps=(0.1,))
    path = {0.0: (0.2, 0.99), 0.1: (0.4, 0.989), 0.2: (0.6, 0.988), 1.0: (0.7, 0.95), 2.0: (0.7, 0.9)}
    frame[["worst_accuracy", "clean_accuracy"]] = [path[lam] for lam in frame["lambda"]]
    (ax,) = plot_tradeoff(frame, 0.95).axes
    assert [t.get_text() for t in ax.texts] == [f"{lam:g}" for lam in path]
    assert [t.get_horizontalalignment() for t in ax.texts] == ["right", "center", "left", "left", "left"]
    assert [t.get_position()[1] for t in ax.texts[:2]] == [4, 11]
    assert ax.texts[4].xy == pytest.approx((70, 90))


def test_labels_that_lie_on_another_move_away_from_the_points():
    fig = Figure()
    ax = fig.subplots()
    shifts = [(0, 6), (0, 7), (6, -3), (6, -3), (200, -3)]
    for shift in shifts:
        ax.annotate("λ = 1", (0.3, 0.5), xytext=shift, textcoords="offset points")
    figures._separate_labels(fig)
    boxes = [text.get_window_extent() for text in ax.texts]
    assert not any(box.count_overlaps(boxes[:i]) for i, box in enumerate(boxes))
    assert [text.xyann for i, text in enumerate(ax.texts) if i in (0, 4)] == [shifts[0], shifts[4]]
    assert ax.texts[1].xyann[1] > 7
    assert ax.texts[3].xyann[1] < ax.texts[2].xyann[1] <= -3


def draw(folder, name, frame, banner="QUICK"):
    folder.mkdir(exist_ok=True)
    frame.to_csv(folder / "m.csv", index=False)
    summarize(frame, 0.5, 0.95).to_csv(folder / "s.csv", index=False)
    files = folder / "f.pdf", folder / "f.png"
    inputs = {"metrics": folder / "m.csv", "summary": folder / "s.csv"}
    known = {"eps": 0.15, "confidence": 0.95, "objective": "jacobian"}
    settings = {key: known[key] for key in find(name).settings}
    plot_figure(name, inputs, *files, run="mine", banner=banner, settings=settings)
    return [file.read_bytes() for file in files]


@pytest.mark.parametrize("name", FIGURES)
def test_equal_numbers_draw_equal_bytes(tmp_path, name):
    first, second = (draw(tmp_path / d, name, metrics()) for d in "ab")
    assert first == second
    assert first[0].startswith(b"%PDF")
    assert first[1].startswith(b"\x89PNG")


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize(
    "grid", [{"datasets": ("mnist",)}, {"members": (1,)}, {"lambdas": (0.0,)}, {"lambdas": (0.5,)}, {"eps": (0.15,)}]
)
def test_small_grids_are_drawn(tmp_path, name, grid):
    assert all(draw(tmp_path, name, metrics(**grid)))


@pytest.mark.parametrize(("name", "column"), [("figure1_clean_accuracy", "clean"), ("figure2_robustness", "worst")])
def test_every_line_and_interval_is_the_models_own(name, column):
    frame = metrics()
    frame["clean_low"] -= 0.001 * frame.index  # so that no two intervals are equal
    fig = FIGURES[name](frame, 0.1)
    panels = itertools.product(("mnist", "fashion_mnist"), ("bagging", "snapshot", "voting"))
    for ax, (dataset, ensemble) in zip(fig.axes, panels, strict=True):
        assert [c.get_label() for c in ax.containers] == ["M = 1", "M = 3"]
        for container, m in zip(ax.containers, (1, 3), strict=True):
            model = (frame["dataset"] == dataset) & (frame["ensemble"] == ensemble) & (frame["members"] == m)
            rows = frame[model & (frame["eps"] == 0.1)]
            assert container.lines[0].get_ydata().tolist() == pytest.approx((100 * rows[f"{column}_accuracy"]).tolist())
            bars = [[tuple(end) for end in segment] for segment in container.lines[2][0].get_segments()]
            for bar, row in zip(bars, rows.to_dict("records"), strict=True):
                low, high = 100 * row[f"{column}_low"], 100 * row[f"{column}_high"]
                assert bar[0] == pytest.approx((row["lambda"], low))
                assert bar[1] == pytest.approx((row["lambda"], high))


def test_lambda_is_ticked_where_it_was_run_zero_included():
    ax = FIGURES["figure2_robustness"](metrics(), 0.15).axes[-1]
    assert ax.get_xticks().tolist() == [0, 0.1, 2]
    assert [ax.xaxis.get_major_formatter()(tick, None) for tick in ax.get_xticks()] == ["0", "0.1", "2"]


@pytest.mark.parametrize("name", FIGURES)
def test_accuracies_are_labelled_in_percent(name):
    axes = FIGURES[name](metrics(), 0.15).axes
    labels = [ax.get_ylabel() for ax in axes if ax.get_ylabel()]
    assert [label.split("\n")[0] for label in labels] == ["MNIST", "Fashion-MNIST"]
    assert all(label.endswith("(%)") for label in labels)


def test_tradeoff_points_are_robustness_and_clean_accuracy_in_the_colour_of_the_method():
    frame = metrics()
    fig = plot_tradeoff(frame, 0.95)
    panels = itertools.product(("mnist", "fashion_mnist"), (0.1, 0.15))
    for ax, (dataset, eps) in zip(fig.axes, panels, strict=True):
        rows = frame[(frame["dataset"] == dataset) & (frame["eps"] == eps)]
        wanted = 100 * rows[["worst_accuracy", "clean_accuracy"]].to_numpy()
        points = ax.collections[0]
        assert points.get_offsets().tolist() == [pytest.approx(row) for row in wanted.tolist()]
        colours = dict.fromkeys(zip(rows["ensemble"], map(tuple, points.get_facecolors()), strict=True))
        assert len(colours) == len({colour for _, colour in colours}) == 3


def test_a_model_that_gets_nothing_right_is_drawn():
    low, high = wilson_interval(0, 500)
    frame = metrics().assign(worst_accuracy=0.0, worst_low=low, worst_high=high)
    assert FIGURES["figure2_robustness"](frame, 0.15).axes


def test_columns_of_different_eps_have_different_titles():
    titles = [ax.get_title() for ax in plot_tradeoff(metrics(datasets=("mnist",), eps=(0.12, 0.125)), 0.95).axes]
    assert len(set(titles)) == 2


def repeated(trainings=3):
    """The same models trained several times, each with an accuracy of its own."""
    parts = [metrics().assign(repetition=r) for r in range(trainings)]
    for r, part in enumerate(parts):
        part["worst_accuracy"] += 0.01 * r
        part["clean_accuracy"] += 0.002 * r
    return pd.concat(parts)


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        (metrics(), "bars: 95% interval over test images"),
        (repeated(), "bars: 95% interval of the mean of 3 trainings"),
        (pd.concat([repeated(), metrics(members=(6,))]), "bars: 95% interval of the mean of 1 to 3 trainings"),
    ],
)
def test_the_legend_says_what_the_bars_are(frame, text):
    (legend,) = FIGURES["figure2_robustness"](frame, 0.15).legends
    *lines, bars = [label.get_text() for label in legend.get_texts()]
    assert lines == [f"M = {m}" for m in sorted(set(frame["members"]))]
    assert bars == text


def test_the_legend_of_the_tradeoff_explains_colours_markers_numbers_and_bars():
    (legend,) = FIGURES["figure3_tradeoff"](repeated(), 0.15).legends
    assert [label.get_text() for label in legend.get_texts()] == [
        "Bagging", "Snapshot", "Voting", "M = 1", "M = 3", "numbers: λ",
        "bars: 95% interval of the mean of 3 trainings",
    ]  # fmt: skip


def test_a_method_has_one_colour_everywhere():
    alone, all_three = (method_colours(names) for names in (["voting"], ["voting", "bagging", "snapshot"]))
    assert alone["voting"] == all_three["voting"]
    own = method_colours(["my_own", "voting"])
    assert own["my_own"] not in {own[name] for name in ("bagging", "snapshot", "voting")}


def test_several_trainings_are_a_line_of_means_with_students_bars():
    frame = repeated()
    container = FIGURES["figure2_robustness"](frame, 0.1).axes[0].containers[0]
    first = frame[
        (frame["dataset"] == "mnist") & (frame["ensemble"] == "bagging") & (frame["members"] == 1)
        & (frame["eps"] == 0.1)
    ]  # fmt: skip
    means = first.groupby("lambda")["worst_accuracy"].mean()
    assert container.lines[0].get_ydata().tolist() == pytest.approx((100 * means).tolist())
    half = 4.302653 * 1 / 3**0.5  # standard deviation of 0, 1 and 2 points
    ends = container.lines[2][0].get_segments()[0][:, 1]
    assert ends == pytest.approx([100 * means.iloc[0] - half, 100 * means.iloc[0] + half], abs=1e-4)


def test_tradeoff_has_bars_where_there_are_several_trainings():
    assert not FIGURES["figure3_tradeoff"](metrics(), 0.15).axes[0].containers
    (bars,) = FIGURES["figure3_tradeoff"](repeated(), 0.15).axes[0].containers
    x_bars, y_bars = (collection.get_segments() for collection in bars.lines[2])
    assert len(x_bars) == len(y_bars) == 18
    assert x_bars[0][1][0] - x_bars[0][0][0] == pytest.approx(2 * 4.302653 / 3**0.5, abs=1e-4)
    assert y_bars[0][1][1] - y_bars[0][0][1] == pytest.approx(0.4 * 4.302653 / 3**0.5, abs=1e-4)


def test_bars_of_one_lambda_stand_side_by_side():
    ax = FIGURES["figure2_robustness"](metrics(members=(1, 3, 6, 9)), 0.15).axes[0]
    ax.figure.draw_without_rendering()
    places = [c.lines[0].get_transform().transform((0.1, 50))[0] for c in ax.containers]
    assert len(set(places)) == 4
    middle = ax.transData.transform((0.1, 50))[0]
    assert sum(places) / 4 == pytest.approx(middle)
    assert max(places) - min(places) < 0.15 * ax.figure.dpi
