import itertools

import pandas as pd
import pytest
from matplotlib import pyplot as plt

from jacobian_ensembles.figures import FIGURES, plot_against_lambda, plot_figure, plot_tradeoff
from jacobian_ensembles.metrics import summarize


def metrics(datasets=("mnist", "fashion_mnist"), members=(1, 3), lambdas=(0.0, 0.1, 2.0), eps=(0.1, 0.15)):
    rows = []
    grid = itertools.product(datasets, ("bagging", "snapshot", "voting"), members, lambdas, eps)
    for i, (dataset, ensemble, m, lam, e) in enumerate(grid):
        clean, worst = 0.9 - 0.02 * lam + 0.001 * m, 0.3 + 0.0005 * i
        rows.append(
            {"dataset": dataset, "ensemble": ensemble, "members": m, "lambda": lam, "eps": e, "seeds": 3,
             "images": 10_000, "clean_accuracy": clean, "clean_low": clean - 0.01, "clean_high": clean + 0.01,
             "worst_accuracy": worst, "worst_low": worst - 0.02, "worst_high": worst + 0.02}
        )  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def test_accuracy_is_drawn_against_lambda_for_every_model():
    frame = metrics(eps=(0.15,))
    fig = plot_against_lambda(frame, "worst_accuracy", "Accuracy (%)")
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


def test_members_are_told_apart_without_colour():
    fig = plot_against_lambda(metrics(members=(1, 3, 6, 9), eps=(0.15,)), "clean_accuracy", "")
    lines = [c.lines[0] for c in fig.axes[0].containers]
    assert len({line.get_marker() for line in lines}) == 4
    assert len({str(line._dash_pattern) for line in lines}) == 4


def test_tradeoff_has_a_column_per_eps_and_a_label_per_lambda():
    fig = plot_tradeoff(metrics())
    assert [ax.get_title() for ax in fig.axes[:2]] == ["ε = 0.10", "ε = 0.15"]
    for ax in fig.axes:
        assert [t.get_text() for t in ax.texts] == ["λ = 0", "λ = 0.1", "λ = 2"]
        assert len(ax.collections[0].get_offsets()) == 18
    assert fig.axes[0].get_ylabel() == "MNIST\nClean accuracy (%)"
    assert fig.axes[2].get_xlabel() == "Accuracy under worst UAP (%)"


def draw(folder, name, frame, banner="QUICK"):
    folder.mkdir(exist_ok=True)
    frame.to_csv(folder / "m.csv", index=False)
    summarize(frame, 0.5).to_csv(folder / "s.csv", index=False)
    files = folder / "f.pdf", folder / "f.png"
    plot_figure(name, folder / "m.csv", folder / "s.csv", *files, 0.15, "mine", banner)
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


def test_banner_and_run_are_on_the_figure(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr("jacobian_ensembles.figures.save_figure", lambda fig, *paths: written.append(fig))
    with pytest.raises(FileNotFoundError):  # nothing was saved, so there is nothing to read
        draw(tmp_path, "figure2_robustness", metrics(), banner="QUICK RUN")
    text = written[0].get_supxlabel()
    assert text.replace("\n", " ").startswith("QUICK RUN: run 'mine', worst of 3 attack seeds")
