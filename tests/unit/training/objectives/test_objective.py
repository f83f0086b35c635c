"""What every objective shares, and one of a user's own."""

import math

import pytest
import torch
import torch.nn.functional as F
from helpers_science import linear_net
from torch import nn

from jacobian_ensembles.config.settings import Settings
from jacobian_ensembles.extensions.references import resolve
from jacobian_ensembles.models.lenet import LeNet
from jacobian_ensembles.training.objectives.objective import Batch, Objective
from jacobian_ensembles.training.objectives.registry import OBJECTIVES

WEIGHTS = [[1.0, -2.0, 0.5], [0.0, 1.0, 1.0]]


def batch(images, labels, classes=2, seed=0, dropout=None):
    return Batch(images, labels, classes, 1, torch.Generator().manual_seed(seed), dropout)


class Quadratic(Objective):
    """Strength times the mean squared logit, alone."""

    def loss(self, model, images, labels, rng):
        return self.strength * model(images).pow(2).mean()


def test_a_loss_is_differentiated():
    # d/dW of s mean (W x)^2 over B C entries = 2 s / (B C) (W x) x^T
    net, x = linear_net(WEIGHTS), torch.tensor([[1.0, 0.0, 2.0], [0.5, 1.0, 0.0]], dtype=torch.float64)
    value, (gradient,) = Quadratic(3.0).gradients(net, batch(x, torch.tensor([0, 1])))
    logits = torch.tensor([[2.0, 2.0], [-1.5, 1.0]], dtype=torch.float64)
    assert value.item() == pytest.approx(3 * (4 + 4 + 2.25 + 1) / 4)
    torch.testing.assert_close(gradient, 2 * 3 / 4 * logits.T @ x)
    assert not value.requires_grad


def test_without_a_loss_of_its_own_it_is_the_cross_entropy():
    net, x = linear_net(WEIGHTS), torch.tensor([[1.0, 0.0, 2.0]], dtype=torch.float64)
    value, _ = Objective(1.0).gradients(net, batch(x, torch.tensor([1])))
    assert value.item() == pytest.approx(math.log(2))  # both logits are 2


def test_a_lenets_dropout_acts_in_a_users_loss():
    net = LeNet(dropout=0.5, generator=torch.Generator().manual_seed(0))
    x, labels = torch.rand(4, 1, 28, 28), torch.arange(4)
    plain, _ = Quadratic(1.0).gradients(net, batch(x, labels, 10))
    dropped = [
        Quadratic(1.0).gradients(net, batch(x, labels, 10, dropout=torch.Generator().manual_seed(s)))[0]
        for s in (1, 1, 2)
    ]
    assert dropped[0] == dropped[1]
    assert len({plain.item(), dropped[0].item(), dropped[2].item()}) == 3


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda model, x: model(x), r"Got a tensor \(1, 2\)"),
        (lambda model, x: model(x).sum().item(), "Got float"),
        (lambda model, x: x.sum(), r"Got \(\), outside any graph"),
    ],
)
def test_a_loss_that_cannot_be_minimised_is_refused(made, message):
    class Own(Objective):
        def loss(self, model, images, labels, rng):
            return made(model, images)

    with pytest.raises(ValueError, match=rf"Own\.loss must return .*{message}"):
        Own(1.0).gradients(linear_net(WEIGHTS), batch(torch.ones(1, 3).double(), torch.tensor([0])))


def test_one_that_joins_learners_must_say_how():
    with pytest.raises(NotImplementedError, match="needs a coupling"):
        Objective(1.0).coupling([], torch.zeros(1), torch.zeros(1), torch.Generator())


def test_options_are_checked_when_an_objective_is_made():
    class Own(Objective):
        class Options(Settings):
            weight: float = 2.0

    assert Own(1.0, weight=3).options.weight == 3.0
    for kind in (Own, Objective):
        with pytest.raises(ValueError, match="wieght"):
            kind(1.0, wieght=3)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_built_in_objective_is_made_with_its_options(name):
    kind = resolve(name, OBJECTIVES)
    assert issubclass(kind, Objective)
    made = kind(0.5, **kind.Options().model_dump())
    assert (made.strength, made.options) == (0.5, kind.Options())


def test_only_decorrelated_joins_learners():
    assert [name for name in OBJECTIVES if resolve(name, OBJECTIVES).together] == ["decorrelated"]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_tends_to_the_cross_entropy(name):
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    x = torch.rand(5, 3, generator=torch.Generator().manual_seed(0)).double()
    labels = torch.tensor([0, 1, 1, 0, 1])
    value, gradients = resolve(name, OBJECTIVES)(1e-7).gradients(net, batch(x, labels))
    loss = F.cross_entropy(net(x), labels)
    torch.testing.assert_close(value, loss.detach(), rtol=0, atol=1e-6)
    for ours, theirs in zip(gradients, torch.autograd.grad(loss, list(net.parameters())), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
