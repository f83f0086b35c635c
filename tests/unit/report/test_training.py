from jacobian_ensembles.report.training import plot_training, seconds_per_epoch, training_curves


def job(ensemble, strength, *epochs):
    settings = {"dataset": "mnist", "ensemble": ensemble, "lambda_jr": strength}
    history = [{"epoch": i + 1, "loss": loss, "seconds": seconds} for i, (loss, seconds) in enumerate(epochs)]
    return {"settings": settings, "history": history}


CURVES = training_curves([
    job("voting", "0.00", (2.0, 1.0), (1.0, 3.0)), job("voting", "0.00", (4.0, 2.0), (3.0, 2.0)),
    job("own.py:mine", "0.10", (5.0, 7.0)), {"settings": {"rule": "craft_uaps"}},
])  # fmt: skip


def test_curves_are_means_over_learners():
    axes = plot_training(CURVES).axes
    assert [ax.get_title() for ax in axes] == ["Voting", "Mine"]
    (line,) = axes[0].lines
    assert (line.get_xdata().tolist(), line.get_ydata().tolist()) == ([1, 2], [3.0, 2.0])
    (line,) = axes[1].lines
    assert line.get_ydata().tolist() == [5.0]


def test_seconds_are_medians_by_strength():
    assert seconds_per_epoch(CURVES) == "2.0 s at λ = 0, 7.0 s at λ = 0.1"


def test_runs_without_histories_have_no_curves():
    assert training_curves([{"settings": {"rule": "train_learner"}}]).empty
