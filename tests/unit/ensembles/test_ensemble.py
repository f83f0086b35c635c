import math

import pytest
import torch
from helpers_science import ACTIVATIONS, give_biases, plain_of, textured
from torch import nn

from jacobian_ensembles.ensembles.ensemble import Ensemble
from jacobian_ensembles.models.architecture import Architecture
from jacobian_ensembles.models.building import parameter_arrays
from jacobian_ensembles.models.lenet import LeNet
from jacobian_ensembles.stages.inputs import load_ensemble
from jacobian_ensembles.storage.files import ArtifactError
from jacobian_ensembles.storage.learners import save_learners


class Fixed(nn.Module):
    """Gives the logits that are the logarithms of ``odds``, whatever the input."""

    def __init__(self, odds):
        super().__init__()
        self.logits = torch.tensor(odds, dtype=torch.float64).log()

    def forward(self, x):
        return self.logits.expand(len(x), -1)


def lenets(count, **architecture):
    return [
        give_biases(LeNet(**architecture, generator=torch.Generator().manual_seed(m)), seed=m) for m in range(count)
    ]


@pytest.mark.parametrize(
    ("average", "odds", "expected"),
    [
        # odds 1:2 and 1:8 have the geometric mean 1:4, and the mean probabilities (1/3 + 1/9) / 2 and (2/3 + 8/9) / 2
        ("logits", [[1, 2], [1, 8]], [1 / 5, 4 / 5]),
        ("probabilities", [[1, 2], [1, 8]], [2 / 9, 7 / 9]),
        # 1:2:5 and 4:1:3 in eighths
        ("probabilities", [[1, 2, 5], [4, 1, 3]], [5 / 16, 3 / 16, 8 / 16]),
        ("logits", [[1, 1, 4], [4, 1, 9]], [2 / 9, 1 / 9, 6 / 9]),
        # a member's scale does not matter for probabilities, and cancels for logits
        ("logits", [[10, 20], [1, 8]], [1 / 5, 4 / 5]),
        ("probabilities", [[10, 20], [7, 56]], [2 / 9, 7 / 9]),
        ("logits", [[1, 8], [1, 8], [1, 1]], [1 / 5, 4 / 5]),
        ("probabilities", [[1, 1], [1, 3], [3, 1]], [1 / 2, 1 / 2]),
    ],
)
def test_averages_by_hand(average, odds, expected):
    got = Ensemble([Fixed(o) for o in odds], average)(torch.zeros(2, 1))
    wanted = torch.tensor([expected, expected], dtype=torch.float64).log()
    torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)


def test_the_two_averages_can_disagree_on_the_class():
    # one very sure member outvotes two others in logits (1000 : 9 * 9), not in probabilities (about 1.2 : 1.8)
    members = [Fixed([1000, 1]), Fixed([1, 9]), Fixed([1, 9])]
    assert Ensemble(members, "logits")(torch.zeros(1, 1)).argmax().item() == 0
    assert Ensemble(members, "probabilities")(torch.zeros(1, 1)).argmax().item() == 1


@pytest.mark.parametrize("average", ["logits", "probabilities"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_one_member_gives_its_own_log_softmax(average, activation):
    (net,), x = lenets(1, activation=activation), textured(4, dtype=torch.float32)
    logits = plain_of(net)(x)
    expected = logits - logits.exp().sum(1, keepdim=True).log()
    torch.testing.assert_close(Ensemble([net], average)(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("average", ["logits", "probabilities"])
@pytest.mark.parametrize("members", [1, 2, 9])
def test_probabilities_sum_to_one_and_come_from_every_member(average, members):
    nets, x = lenets(members), textured(5, dtype=torch.float32)
    got = Ensemble(nets, average)(x)
    torch.testing.assert_close(got.exp().sum(1), torch.ones(5), rtol=1e-5, atol=0)
    outputs = torch.stack([plain_of(net)(x) for net in nets]).double()
    if average == "logits":
        odds = outputs.mean(0).exp()
        expected = odds / odds.sum(1, keepdim=True)
    else:
        expected = (outputs.exp() / outputs.exp().sum(2, keepdim=True)).sum(0) / members
    torch.testing.assert_close(got.exp().double(), expected, rtol=1e-4, atol=1e-6)


def test_member_logits_are_stacked_in_order():
    got = Ensemble([Fixed([1, 2]), Fixed([1, 4]), Fixed([1, 8])]).member_logits(torch.zeros(2, 1))
    assert got.shape == (3, 2, 2)
    torch.testing.assert_close(got[:, 0, 1], torch.tensor([2.0, 4, 8], dtype=torch.float64).log())


@pytest.mark.parametrize(
    ("average", "logits", "expected"),
    [
        ("logits", [[1e4, 0.0], [1e4, 0.0]], [0.0, -1e4]),
        ("probabilities", [[1e4, 0.0], [1e4, 0.0]], [0.0, -1e4]),
        ("probabilities", [[1e4, 0.0], [0.0, 1e4]], [-math.log(2), -math.log(2)]),
        ("logits", [[1e30, 0.0], [-1e30, 0.0]], [-math.log(2), -math.log(2)]),
        ("probabilities", [[-500.0, -500.0], [800.0, 800.0]], [-math.log(2), -math.log(2)]),
    ],
)
def test_extreme_logits_give_finite_values_and_gradients(average, logits, expected):
    z = torch.tensor(logits)[:, None].requires_grad_(True)
    got = Ensemble([nn.Identity()], average).combine(z)
    torch.testing.assert_close(got, torch.tensor([expected]))
    (gradient,) = torch.autograd.grad(got[0, 1], z)
    assert gradient.isfinite().all()


def test_an_empty_ensemble_is_refused():
    with pytest.raises(ValueError, match="at least one member"):
        Ensemble([])


def test_an_unknown_average_is_refused():
    with pytest.raises(ValueError, match=r"must be 'logits', 'probabilities' or a function\. Got 'votes'"):
        Ensemble([nn.Identity()], "votes")


def stored(path, ensemble, nets, **architecture):
    spec = {
        "dataset": "mnist",
        "ensemble": ensemble,
        "lambda": 0.1,
        "architecture": Architecture(**architecture).record(),
    }
    save_learners(path, parameter_arrays(nets), spec)
    return path


@pytest.mark.parametrize(
    ("method", "average"), [("bagging", "logits"), ("snapshot", "logits"), ("voting", "probabilities")]
)
def test_a_stored_ensemble_comes_back_with_its_members_and_its_methods_average(tmp_path, method, average):
    architecture = {"options": {"activation": "relu"}, "mean": 0.2, "std": 0.4}
    nets, x = lenets(3, activation="relu", mean=0.2, std=0.4), textured(4, dtype=torch.float32)
    path = stored(tmp_path / "ensemble.safetensors", method, nets, **architecture)
    ensemble = load_ensemble(path, members=3)
    assert not any(p.requires_grad for p in ensemble.parameters())
    outputs = torch.stack([plain_of(net)(x) for net in nets])
    expected = {"logits": outputs.mean(0).log_softmax(1), "probabilities": outputs.softmax(2).mean(0).log()}[average]
    torch.testing.assert_close(ensemble(x), expected, rtol=1e-4, atol=1e-5)
    # the stacking keeps the order: each member is the net it was
    for member, net in zip(ensemble.members, nets, strict=True):
        torch.testing.assert_close(member(x), plain_of(net)(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("asked", [1, 3])
def test_a_stored_ensemble_of_another_size_is_refused_by_name(tmp_path, asked):
    path = stored(tmp_path / "pair.safetensors", "bagging", lenets(2))
    assert len(load_ensemble(path).members) == len(load_ensemble(path, members=2).members) == 2
    with pytest.raises(ArtifactError, match=rf"pair\.safetensors: expected {asked} learners, got 2"):
        load_ensemble(path, members=asked)
