"""The whole test of robustness: a healthy model raises no flag, one whose gradients are hidden raises them."""

import pytest
import torch
import torch.nn.functional as F
from helpers_science import patch_dataset
from torch import nn

import jacobian_ensembles as je
from jacobian_ensembles.robustness import toolbox
from jacobian_ensembles.robustness.flags import flags_of
from jacobian_ensembles.robustness.single_image import accuracy_one_by_one

X, Y = patch_dataset(400, seed=0)
TEST = patch_dataset(300, seed=1)
QUICK = {"test": TEST, "eps": (0.1, 0.2, 0.5), "seeds": 2, "iterations": 20, "queries": 300}


def trained(seed):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 20), nn.Tanh(), nn.Linear(20, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(model(X), Y).backward()
        optimizer.step()
    return model.requires_grad_(False)


class Hidden(nn.Module):
    """A healthy net behind something that leaves its decisions alone and hides its gradients."""

    def __init__(self, net, before=lambda x: x, after=lambda z: z):
        super().__init__()
        self.net, self.before, self.after = net, before, after

    def forward(self, x):
        return self.after(self.net(self.before(x)))


@pytest.fixture(scope="module")
def healthy():
    return trained(0)


@pytest.fixture(scope="module")
def other():
    return trained(1)


def test_a_healthy_model_raises_no_flag(healthy, other):
    table = je.stress(healthy, X, Y, **QUICK, others={"other": other}, single_images=0)
    assert flags_of(table) == []
    white = table[(table["attack"] == "20-steps")].set_index("eps")["worst_accuracy"]
    clean = table.loc[table["kind"] == "clean", "worst_accuracy"].item()
    assert clean > 0.97
    assert white[0.5] < 0.2  # or else the test above would be of a model that nothing harms
    assert table.loc[table["kind"] == "transfer", "source"].tolist() == ["other"] * 3


@pytest.mark.parametrize(
    "hide",
    [{"before": lambda x: (16 * x).round() / 16}, {"after": lambda z: 1e6 * z}],
    ids=["quantised", "saturated"],
)
def test_a_model_that_hides_its_gradients_raises_flags(healthy, hide):
    table = je.stress(Hidden(healthy, **hide), X, Y, **QUICK, others={"healthy": healthy}, single_images=0)
    expected = {"beaten by transfer", "beaten by black box", "not at chance", "without gradient"}
    assert expected <= set(flags_of(table))
    assert (table.loc[table["attack"] == "20-steps", "without_gradient"] > 0.5).all()
    transferred = table[(table["kind"] == "transfer") & (table["eps"] == 0.2)].iloc[0]
    assert "beaten by transfer" in transferred["flags"]


def test_accuracies_are_those_of_the_librarys_own_functions(healthy):
    table = je.stress(healthy, X, Y, **QUICK | {"eps": (0.2,)}, single_images=0).set_index("attack")
    deltas = je.craft_uaps(healthy, X, Y, 0.2, iterations=20, seeds=range(2))
    found = je.evaluate(healthy, *TEST, deltas)
    row = table.loc["20-steps"]
    assert row["worst_accuracy"] == found.worst_accuracy
    assert row["mean_accuracy"] == pytest.approx(found.accuracies.mean())
    assert row["per_image_worst_accuracy"] == found.correct.all(0).mean()
    noise = je.craft_uaps(healthy, X, Y, 0.2, iterations=0, init="sign", seeds=range(2))
    assert table.loc["noise", "worst_accuracy"] == je.evaluate(healthy, *TEST, noise).worst_accuracy


def test_without_test_images_every_second_one_is_kept_for_it(healthy):
    small = {"eps": (0.2,), "seeds": 1, "iterations": 10, "queries": 5, "single_images": 0}
    ours = je.stress(healthy, X, Y, **small)
    told = je.stress(healthy, X[::2], Y[::2], test=(X[1::2], Y[1::2]), **small)
    assert ours.equals(told)
    assert (ours["images"] == 200).all()


def test_where_the_toolbox_is_missing_the_table_says_so(healthy, monkeypatch):
    monkeypatch.setattr(toolbox, "TOOLBOX", "no-such-package")
    with pytest.warns(
        UserWarning, match=r"is not installed. Install it with pip install 'jacobian-ensembles\[stress\]'"
    ):
        table = je.stress(healthy, X, Y, **QUICK | {"eps": (0.2,)}, single_images=20)
    rows = table[table["kind"] == "single image"]
    assert rows["attack"].tolist() == ["PGD", "APGD"]
    assert rows["worst_accuracy"].isna().all()
    assert flags_of(table) == ["not run"]


def test_numbers_out_of_range_are_refused(healthy):
    with pytest.raises(ValueError, match="at least 1"):
        je.stress(healthy, X, Y, seeds=0)
    with pytest.raises(ValueError, match="labels"):
        je.stress(healthy, X, Y + 5)


@pytest.mark.peers
@pytest.mark.parametrize("clip", [False, True])
def test_images_fall_one_by_one_where_a_shared_perturbation_leaves_them(healthy, clip):
    pytest.importorskip("art")
    few = (TEST[0][:100], TEST[1][:100])
    found = accuracy_one_by_one(healthy, *few, 0.1, iterations=20, clip=clip)
    deltas = je.craft_uaps(healthy, X, Y, 0.1, iterations=20, clip=clip, seeds=range(2))
    universal = je.evaluate(healthy, *few, deltas, clip=clip).worst_accuracy
    assert set(found) == {"PGD", "APGD"}
    assert all(value <= universal + 0.02 for value in found.values())
    assert min(found.values()) < je.evaluate(healthy, *few).clean_accuracy
    assert accuracy_one_by_one(healthy, *few, 0.1, iterations=20, clip=clip) == found  # its draws are fixed


@pytest.mark.peers
def test_pgd_of_one_step_is_the_sign_of_the_gradient(healthy):
    pytest.importorskip("art")
    x, y = TEST[0][:100], TEST[1][:100]
    # one step of 2.5 eps, cut to eps: the fast gradient sign method
    leaf = x.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(F.cross_entropy(healthy(leaf), y, reduction="sum"), leaf)
    expected = (healthy(x + 0.07 * gradient.sign()).argmax(1) == y).double().mean().item()
    assert accuracy_one_by_one(healthy, x, y, 0.07, iterations=1)["PGD"] == pytest.approx(expected, abs=0.011)
