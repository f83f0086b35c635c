"""A comparison of runs for readers."""

import pandas as pd
import pytest
from helpers_defences import made

from jacobian_ensembles.comparing.defence_display import best_table, notes, plot, plot_certified
from jacobian_ensembles.comparing.defences import best_of_each, compare


def test_what_makes_runs_incomparable_is_said():
    first = made("first", {(0.0, 0): [0.5, 0.5]}, attack={"clip": False, "step": 0.8})
    other = made("other", {(0.0, 0): [0.5, 0.5]}, attack={"clip": True, "step": 0.8}, banner="QUICK")
    few = made("few", {(0.0, 0): [0.5, 0.5]}, attack={"clip": False, "step": 0.8})
    few.records["images"] = 50
    text = "\n".join(notes([first, other, few]))
    assert "worst of 2 attack seeds" in text
    assert "other: QUICK." in text
    assert "other was attacked otherwise than first (clip): do not compare them" in text
    assert "few was tested on 50 images, first on 100" in text
    quick = [made(name, {(0.0, 0): [0.5]}, banner="QUICK") for name in ("a", "b")]
    assert "All runs: QUICK." in notes(quick)


def test_the_figure_has_a_panel_per_dataset_and_size_and_a_curve_per_run():
    runs = [made("a", {(0.0, 0): [0.5], (0.1, 0): [0.7]}), made("b", {(0.3, 0): [0.6], (0.2, 0): [0.4]})]
    table = compare(runs, 0.5, 0.95)
    larger = table.assign(members=3)
    fig = plot(runs, pd.concat([table, larger], ignore_index=True))
    assert [ax.get_title() for ax in fig.axes] == ["MNIST, M = 1", "MNIST, M = 3"]
    lines = {container.get_label(): container.lines[0] for container in fig.axes[0].containers}
    assert lines["a"].get_xdata() == pytest.approx([45.0, 65.0])
    assert lines["b"].get_xdata() == pytest.approx([35.0, 55.0])  # by strength, not as listed
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["a", "b", "intervals"]


def test_the_table_has_differences_in_points_with_their_intervals():
    base = made("base", {(0.1, 0): [0.50], (0.1, 1): [0.54]})
    better = made("better", {(0.3, 0): [0.80], (0.3, 1): [0.82]})
    single = made("single", {(0.5, 0): [0.1]})
    runs = [base, better, single]
    best = best_of_each(runs, compare(runs, 0.5, 0.95), 0.5, 0.95)
    text = best_table(runs, best).markdown
    low, high = 100 * best.set_index("run").loc["better", ["difference_low", "difference_high"]]
    assert f"+14.5 [{low:+.1f}, {high:+.1f}] | better |" in text
    assert "| single | jacobian | 0.50 | 90.0 | 5.0 | 47.5 | -21.0 | – | – |" in text


def test_certificates_are_a_column_and_a_band_of_each_best_strength():
    proved = made("proved", {(0.1, 0): [0.5], (0.2, 0): [0.7]})
    proved.records["certified_accuracy"] = proved.records["lambda"]  # the better one is 0.2
    runs = [made("not proved", {(0.1, 0): [0.6]}), proved]
    best = best_of_each(runs, compare(runs, 0.5, 0.95), 0.5, 0.95)
    header, _, *rows = [line for line in best_table(runs, best).markdown.splitlines() if line.startswith("|")]
    place = [cell.strip() for cell in header.split("|")].index("Certified")
    assert [row.split("|")[place].strip() for row in rows] == ["–", "20.0"]
    fig = plot_certified(runs, best, 0.95)
    low, high = (line.get_ydata()[0] for line in fig.axes[0].lines)
    assert (low, high) == pytest.approx((20.0, 70.0))
    assert fig.legends[0].get_texts()[0].get_text() == "proved"
    assert plot_certified(runs[:1], best, 0.95) is None
