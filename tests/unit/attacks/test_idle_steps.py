"""An attack that does nothing is not robustness: its idle steps are counted, warned of and refused."""

import pytest
import torch
from torch import nn

import jacobian_ensembles as je
from jacobian_ensembles.attacks.losses import loss_gradient
from jacobian_ensembles.attacks.outcome import check_deltas, counting_steps
from jacobian_ensembles.attacks.sgd_uap import SgdUap
from jacobian_ensembles.ensembles.ensemble import Ensemble
from jacobian_ensembles.evaluation.summary import IDLE, summarize
from jacobian_ensembles.models.lenet import LeNet
from jacobian_ensembles.storage.perturbations import load_uaps, save_uaps

X, Y = torch.rand(40, 1, 3, 3, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 3
QUICK = SgdUap(iterations=4, batch_size=10)
torch.manual_seed(0)
NET = nn.Sequential(nn.Flatten(), nn.Linear(9, 3)).requires_grad_(False)


class Wrapped(nn.Module):
    """NET with something done to its input or to its scores."""

    def __init__(self, before=lambda x: x, after=lambda z: z):
        super().__init__()
        self.net, self.before, self.after = NET, before, after

    def forward(self, x):
        return self.after(self.net(self.before(x)))


class Root(torch.autograd.Function):
    """The identity, whose gradient is NaN or infinite."""

    @staticmethod
    def forward(ctx, x, value):
        ctx.value = value
        return x.clone()

    @staticmethod
    def backward(ctx, g):
        return torch.full_like(g, ctx.value), None


IDLE_MODELS = {
    "rounds": Wrapped(before=lambda x: (8 * x).round() / 8),
    "thresholds": Wrapped(before=lambda x: (x > 0.5).float()),
    "bytes": Wrapped(before=lambda x: (255 * x).to(torch.uint8).float() / 255),
    "detaches": Wrapped(after=lambda z: z.detach()),
    "numpy": Wrapped(after=lambda z: torch.from_numpy(z.detach().numpy())),
    "inference": Wrapped(before=torch.inference_mode()(lambda x: x * 1)),
    "constant": Wrapped(after=lambda z: 0 * z),
    "parameter": Wrapped(after=lambda z: nn.Parameter(torch.rand(1, 3)).expand(len(z), 3) * torch.ones(1)),
    "one-hot": Wrapped(after=lambda z: nn.functional.one_hot(z.argmax(1), 3).float()),
    "nan-gradient": Wrapped(before=lambda x: Root.apply(x, float("nan"))),
    "infinite-gradient": Wrapped(before=lambda x: Root.apply(x, float("inf"))),
    "saturates": Wrapped(after=lambda z: 1e30 * z.sign() * torch.tensor([1.0, 0, 0]) + z * 0),
}


@pytest.mark.parametrize("kind", IDLE_MODELS)
def test_an_attack_without_any_gradient_is_refused(kind):
    labels = je.evaluate(IDLE_MODELS[kind], X, Y).predicted if kind == "saturates" else Y
    with pytest.raises(ValueError, match=r"eps 0.1: none of 4 steps had a finite gradient other than zero"):
        je.craft_uaps(IDLE_MODELS[kind], X, torch.as_tensor(labels), 0.1, QUICK)


def test_some_idle_steps_are_warned_of_and_the_perturbation_stays_finite(caplog):
    class Sometimes(nn.Module):
        def __init__(self):
            super().__init__()
            self.calls = 0

        def forward(self, x):
            self.calls += 1
            return NET(x if self.calls % 2 else Root.apply(x, float("nan")))

    deltas = je.craft_uaps(Sometimes(), X, Y, 0.1, QUICK, seeds=[0, 1])
    assert deltas.isfinite().all()
    assert deltas.any()
    assert caplog.text.count("2 of 4 steps had no finite gradient other than zero") == 2


def test_without_steps_nothing_is_refused():
    je.craft_uaps(IDLE_MODELS["rounds"], X, Y, 0.1, SgdUap(iterations=0, init="sign"))


def test_a_loss_at_its_cap_leaves_nothing_to_ascend(caplog):
    wrong = Wrapped(after=lambda z: 1e4 * nn.functional.one_hot((Y[:1] + 1) % 3, 3) + z)
    je.craft_uaps(wrong, X, 0 * Y, 0.1, QUICK)
    assert "steps" not in caplog.text


@pytest.mark.parametrize("side_by_side", [1, 3])
def test_steps_are_counted_for_each_perturbation(side_by_side):
    with counting_steps() as steps:
        je.craft_uaps(NET, X, Y, 0.1, QUICK, seeds=range(3), side_by_side=side_by_side)
    assert (steps.total, steps.idle) == (12, 0)
    with counting_steps() as steps:
        loss_gradient(IDLE_MODELS["rounds"], X, Y, None, groups=2)
        loss_gradient(NET, X, Y, None)
    assert (steps.total, steps.idle) == (3, 2)


def test_an_ensemble_of_lenets_counts_too():
    net = LeNet(generator=torch.Generator().manual_seed(0))
    net.fc3.weight.data.zero_()
    x, y = torch.rand(10, 1, 28, 28), torch.arange(10)
    with pytest.raises(ValueError, match="none of 4 steps"):
        je.craft_uaps(Ensemble([net]), x, y, 0.1, QUICK)


def test_the_count_is_stored_joined_and_summed(tmp_path):
    import pandas as pd

    for first in (0, 2):
        save_uaps(
            tmp_path / str(first), torch.zeros(2, 1, 3, 3).numpy(), (X[:2, 0, 0] > 0).numpy(), first, {"eps": 0.1},
            {IDLE: 3, "steps": 5, "gradient_images": 20}, [0.5, 0.25 * first],
        )  # fmt: skip
    spec = load_uaps([tmp_path / "0", tmp_path / "2"])[2]
    assert (spec[IDLE], spec["steps"], spec["gradient_images"]) == (6, 10, 40)
    assert spec["success_rates"] == [0.5, 0, 0.5, 0.5]
    rows = [
        {"dataset": "d", "ensemble": "voting", "members": 1, "lambda": 0.0, "repetition": r, "eps": e, "seeds": 2,
         "images": 10, "worst_accuracy": 0.5, "worst_low": 0.4, "worst_high": 0.6, "clean_accuracy": 0.9,
         "clean_low": 0.8, "clean_high": 1.0, IDLE: n}
        for r, e, n in ((0, 0.1, 1), (0, 0.2, 2), (1, 0.1, 4), (1, 0.2, 8))
    ]  # fmt: skip
    from jacobian_ensembles.paper.labels import run_note

    table = pd.DataFrame(rows)
    summary = summarize(table, 0.5, 0.95)
    assert summary[IDLE].tolist() == [15]
    assert "15 steps of the attack had no gradient" in run_note(summary, "x", "")
    without = summarize(table.drop(columns=IDLE), 0.5, 0.95)  # made before steps were counted
    assert IDLE not in without
    assert "gradient" not in run_note(without, "x", "")
    assert "gradient" not in run_note(summarize(table.assign(**{IDLE: 0}), 0.5, 0.95), "x", "")


@pytest.mark.parametrize(
    ("deltas", "message"),
    [
        (torch.zeros(3, 2), "of shape \\(2, 2\\) are needed, it returned \\(3, 2\\)"),
        (None, "it returned NoneType"),
        ([torch.zeros(2)], "it returned list"),
        (torch.full((2, 2), 0.2), "of size 0.2, where eps is 0.1"),
        (torch.full((2, 2), float("nan")), "of size nan"),
    ],
)
def test_what_an_attack_returns_is_checked(deltas, message):
    with pytest.raises(ValueError, match=message):
        check_deltas(deltas, (2, 2), 0.1, "mine")
    check_deltas(torch.full((2, 2), 0.1), (2, 2), 0.1, "mine")


def test_the_norm_says_what_eps_bounds():
    delta = torch.tensor([[0.3, 0.0, 0.0, 0.0], [0.15, 0.15, -0.15, 0.15]])  # both have an L2 norm of 0.3
    check_deltas(delta, (2, 4), 0.15, "mine", "l2")
    with pytest.raises(ValueError, match=r"of size 0.3, where eps is 0.15"):
        check_deltas(delta, (2, 4), 0.15, "mine")
    with pytest.raises(ValueError, match=r"of size 0.15 \(l2\), where eps is 0.14"):
        check_deltas(delta, (2, 4), 0.14, "mine", "l2")
    with pytest.raises(ValueError, match="of size nan"):
        check_deltas(delta * torch.nan, (2, 4), 1, "mine", "l2")
    with pytest.raises(ValueError, match=r"norm must be 'linf' or 'l2'\. Got 'l1'"):
        check_deltas(delta, (2, 4), 1, "mine", "l1")
