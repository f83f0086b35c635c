"""Learners trained with other objectives, alone and side by side, by the loop that trains all."""

import pytest
import torch
from helpers_science import jacobians, patch_dataset
from torch import nn

from jacobian_ensembles.ensembles.methods import bootstrap_indices
from jacobian_ensembles.extensions.references import resolve
from jacobian_ensembles.models.architecture import Architecture
from jacobian_ensembles.training.learner import Task
from jacobian_ensembles.training.members import train_learner, train_members, train_together
from jacobian_ensembles.training.objectives.decorrelated import Decorrelated
from jacobian_ensembles.training.objectives.jacobian import Jacobian
from jacobian_ensembles.training.objectives.objective import Objective
from jacobian_ensembles.training.objectives.registry import OBJECTIVES
from jacobian_ensembles.training.objectives.universal import Universal
from jacobian_ensembles.training.recipe import Recipe

TRAIN, VALIDATION = patch_dataset(200, seed=0), patch_dataset(100, seed=1)
SETTINGS, LENET = Recipe(epochs=2, batch_size=40), Architecture()
ENSEMBLE = (0, "mnist", "bagging", 0.1, 0)


@pytest.fixture
def accept_any_accuracy(monkeypatch):
    monkeypatch.setattr("jacobian_ensembles.training.learner._check_usable", lambda *_: 0.5)


def task(strength, objective=Jacobian, settings=SETTINGS, architecture=LENET, **more):
    return Task(TRAIN, VALIDATION, architecture, settings, strength, objective, **more)


def train(strength, identity=ENSEMBLE, together=None, **more):
    what = task(strength, **more)
    return train_together(what, identity, together) if together else train_learner(what, identity)


def weights(net):
    return torch.cat([p.detach().flatten() for p in net.parameters()])


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_strength_of_zero_is_plain_training_to_the_bit(accept_any_accuracy, name):
    objective, how = resolve(name, OBJECTIVES), {"sample": bootstrap_indices}
    plain = [weights(train(0.0, (*ENSEMBLE, i), **how).nets[0]) for i in range(2)]
    if objective.together:
        found = train(0.0, together=2, objective=objective, **how)
        assert len(found.nets) == len(found.validation_accuracy) == 2
        assert all(map(torch.equal, map(weights, found.nets), plain))
    else:
        assert torch.equal(weights(train(0.0, (*ENSEMBLE, 1), objective=objective, **how).nets[0]), plain[1])


@pytest.mark.parametrize("name", OBJECTIVES)
def test_any_other_strength_is_another_training(accept_any_accuracy, name):
    plain = weights(train(0.0, (*ENSEMBLE, 0)).nets[0])
    other = weights(train(0.1, (*ENSEMBLE, 0), objective=resolve(name, OBJECTIVES)).nets[0])
    assert other.isfinite().all()
    assert 1e-4 < (other - plain).abs().mean() < 0.1


def test_one_learner_side_by_side_with_none_is_a_learner_alone(accept_any_accuracy):
    alone = train(0.1, (*ENSEMBLE, 0), objective=Jacobian).nets[0]
    (joined,) = train(0.1, together=1, objective=Decorrelated).nets
    assert torch.equal(weights(alone), weights(joined))


def test_without_a_weight_of_the_correlation_learners_side_by_side_are_learners_alone(accept_any_accuracy):
    alone = [weights(train(0.1, (*ENSEMBLE, i), sample=bootstrap_indices).nets[0]) for i in range(3)]
    none = {"objective": Decorrelated, "options": {"correlation": 0.0}}
    joined = train(0.1, together=3, sample=bootstrap_indices, **none).nets
    assert all(map(torch.equal, map(weights, joined), alone))


def test_a_coupling_reaches_every_learner_and_takes_their_images_in_turn(accept_any_accuracy):
    seen = []

    class Pull(Objective):
        """Pulls all weights to zero: the coupling's gradient is the strength times the weights."""

        together = True

        def gradients(self, net, batch):
            return torch.zeros(()), [torch.zeros_like(p) for p in net.parameters()]

        def coupling(self, models, images, labels, rng):
            seen.append(images)
            nets = [model.args[0] for model in models]
            return self.strength / 2 * sum(p.pow(2).sum() for net in nets for p in net.parameters())

    settings = Recipe(optimizer="sgd", learning_rate=0.5, momentum=0.0, batch_size=100, epochs=1)
    rates = [0.5, 0.25]  # of two steps along a cosine
    joined = train(0.4, settings=settings, together=2, objective=Pull).nets
    start = train(0.0, settings=Recipe(optimizer="sgd", learning_rate=1e-30, batch_size=100, epochs=1), together=2).nets
    for net, fresh in zip(joined, start, strict=True):
        torch.testing.assert_close(weights(net), weights(fresh) * (1 - 0.4 * rates[0]) * (1 - 0.4 * rates[1]))
    orders = [torch.Generator().manual_seed(0) for _ in range(2)]
    assert len(seen) == len(orders)
    assert not torch.equal(seen[0], seen[1])


def mlp(shape, classes):
    """The same start for every learner: their Jacobians agree until training, or an objective, parts them."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 20), nn.Tanh(), nn.Linear(20, classes))


def test_a_planted_correlation_falls():
    settings, architecture = Recipe(epochs=8, batch_size=20), Architecture(name="mlp")
    agreement = {}
    for correlation in (0.0, 20.0):
        joined = {"objective": Decorrelated, "options": {"jacobian": 0.1, "correlation": correlation}}
        found = train(0.1, settings=settings, architecture=architecture, builder=mlp, together=2, **joined)
        assert min(found.validation_accuracy) > 0.9
        one, two = (jacobians(net, VALIDATION[0][:30]).flatten(1) for net in found.nets)
        agreement[correlation] = torch.cosine_similarity(one, two, dim=1).mean().item()
    assert agreement[0.0] > 0.8  # as planted
    assert agreement[20.0] < 0.5 * agreement[0.0]


def test_universal_training_leaves_less_for_a_universal_perturbation():
    # a perturbation of the training's own size, by the sign of the mean gradient at the images
    settings, left = Recipe(epochs=10, batch_size=20), {}
    for strength in (0.0, 0.15):
        (net,) = train(strength, (*ENSEMBLE, 0), settings=settings, objective=Universal).nets
        x, y = VALIDATION
        shift = torch.zeros(1, 28, 28, requires_grad=True)
        for _ in range(20):
            (g,) = torch.autograd.grad(nn.functional.cross_entropy(net(x + shift), y), shift)
            shift = (shift + 0.05 * g.sign()).clamp(-0.15, 0.15).detach().requires_grad_(True)
        left[strength] = (net(x + shift).argmax(1) == y).float().mean().item()
    assert left[0.15] > left[0.0] + 0.15


def test_snapshots_cannot_be_trained_side_by_side():
    for strength in (0.0, 0.1):
        with pytest.raises(ValueError, match=r"snapshots of one training\. Got .*Decorrelated.*, which joins several"):
            train_members(task(strength, Decorrelated), True, ENSEMBLE, 2)


def test_the_learners_of_an_ensemble_are_those_trained_one_at_a_time(accept_any_accuracy):
    whole = train_members(task(0.1, sample=bootstrap_indices), False, ENSEMBLE, 2)
    alone = [train(0.1, (*ENSEMBLE, i), sample=bootstrap_indices) for i in range(2)]
    assert all(torch.equal(weights(a), weights(b.nets[0])) for a, b in zip(whole.nets, alone, strict=True))
    assert len(whole.validation_accuracy) == 2
    assert [record["epoch"] for record in whole.history] == [1, 2, 1, 2]
    snapshots = train_members(task(0.1), True, ENSEMBLE, 2)
    assert len(snapshots.nets) == len(snapshots.history) == 2
    joined = train_members(task(0.1, Decorrelated), False, ENSEMBLE, 2).nets
    assert not torch.equal(weights(joined[0]), weights(train(0.1, (*ENSEMBLE, 0)).nets[0]))


def test_what_is_no_objective_is_refused():
    with pytest.raises(ValueError, match="instance of a subclass of Objective"):
        train(0.1, objective=lambda strength: strength)


def test_learners_with_different_numbers_of_batches_cannot_be_joined():
    sizes = iter((80, 120))

    def some(size, rng):
        return torch.arange(next(sizes))

    with pytest.raises(ValueError, match=r"equally many batches\. Got \[2, 3\]"):
        train(0.1, sample=some, together=2, objective=Decorrelated)
