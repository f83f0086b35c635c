import math

import pytest
import torch
import torch.nn.functional as F
from helpers_science import give_biases, patch_dataset, plain_of, textured
from torch import nn

import jacobian_ensembles as je
from jacobian_ensembles.models.architecture import Architecture
from jacobian_ensembles.models.intervals import layers_of, margin_bounds
from jacobian_ensembles.models.lenet import LeNet
from jacobian_ensembles.training.learner import Task
from jacobian_ensembles.training.members import train_learner, train_snapshots
from jacobian_ensembles.training.objectives.ibp import Ibp
from jacobian_ensembles.training.objectives.objective import Batch, Objective
from jacobian_ensembles.training.recipe import Recipe


def batch(images, labels, classes=2, progress=1.0, dropout=None):
    return Batch(images, labels, classes, 1, torch.Generator(), dropout, progress)


def linear():
    net = nn.Linear(2, 2).double()
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[1.0, -1.0], [0.0, 1.0]]))
        net.bias.copy_(torch.tensor([0.5, 0.0]))
    return net


@pytest.mark.parametrize(
    ("options", "progress", "eps", "weight"),
    [
        ({}, 0.0, 0.0, 0.0),
        ({}, 0.25, 0.1, 0.25),  # half of the ramp: half of eps, half of the weight
        ({}, 0.5, 0.2, 0.5),
        ({}, 0.75, 0.2, 0.5),
        ({"ramp": 1.0, "mixture": 0.8}, 0.75, 0.15, 0.6),
    ],
)
def test_eps_and_the_mixture_grow_over_the_ramp(options, progress, eps, weight):
    # the margin z0 - z1 = x1 - 2 x2 + 0.5 falls by 3 eps at most
    x, labels = torch.tensor([[0.6, 0.2]], dtype=torch.float64), torch.tensor([0])
    value, _ = Ibp(0.2, **options).gradients(linear(), batch(x, labels, progress=progress))
    plain, bound = (math.log1p(math.exp(-margin)) for margin in (0.7, 0.7 - 3 * eps))
    assert value.item() == pytest.approx((1 - weight) * plain + weight * bound)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_the_gradient_is_that_of_the_mixture_and_dropout_acts_in_the_cross_entropy_alone(activation):
    net = give_biases(LeNet(activation, dropout=0.3, generator=torch.Generator().manual_seed(0)))
    x, labels = textured(4, dtype=torch.float32), torch.tensor([3, 1, 4, 1])
    value, gradients = Ibp(0.02).gradients(net, batch(x, labels, 10, 0.25, torch.Generator().manual_seed(7)))
    dropped = F.cross_entropy(net(x, torch.Generator().manual_seed(7)), labels)
    bound = F.cross_entropy(-margin_bounds(layers_of(net), x, torch.full_like(x, 0.01), labels).low, labels)
    loss = 0.75 * dropped + 0.25 * bound
    assert bound > F.cross_entropy(plain_of(net)(x), labels)
    torch.testing.assert_close(value, loss.detach())
    for ours, theirs in zip(gradients, torch.autograd.grad(loss, list(net.parameters())), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4 * theirs.abs().max().item())


def test_fresh_weights_of_a_tanh_learner_keep_the_width_of_intervals_and_a_relus_stay():
    for activation, kept in ((nn.Tanh, False), (nn.ReLU, True)):
        net = nn.Sequential(nn.Flatten(), nn.Linear(50, 40), activation(), nn.Linear(40, 30))
        before = [net[i].weight.clone() for i in (1, 3)]
        Ibp(0.1).prepare(net)
        for layer, weight in zip((net[1], net[3]), before, strict=True):
            assert torch.equal(layer.weight, weight) == kept
            assert (layer.weight.abs().sum(1).mean().item() == pytest.approx(1)) != kept


@pytest.mark.parametrize(
    ("snapshots", "expected"),
    [(None, [i / 8 for i in range(8)]), (2, [0.0, 0.25, 0.5, 0.75, 1, 1, 1, 1])],
)
def test_batches_know_the_progress_of_training_or_of_the_first_cycle(snapshots, expected):
    seen = []

    class Recorded(Objective):
        def prepare(self, net):
            seen.append("prepared")

        def gradients(self, net, given):
            seen.append(given.progress)
            return super().gradients(net, given)

    data, recipe = patch_dataset(200), Recipe(epochs=4, batch_size=100, learning_rate=0.01)
    task = Task(data, data, Architecture(), recipe, 1.0, Recorded)
    if snapshots:
        train_snapshots(task, (0,), snapshots)
    else:
        train_learner(task, (0,))
    assert seen == ["prepared", *expected]


def test_snapshots_are_all_trained_for_the_whole_eps():
    recipe = Recipe(epochs=16, batch_size=20, learning_rate=0.01)
    small = nn.Sequential(nn.Flatten(), nn.Linear(784, 20), nn.ReLU(), nn.Linear(20, 10))
    model = je.train_ensemble(
        *patch_dataset(400), "snapshot", 2, 0.03, architecture=lambda shape, classes: small, recipe=recipe,
        objective="ibp", validation=patch_dataset(100, seed=2),
    )  # fmt: skip
    x, labels = patch_dataset(100, seed=1)
    assert [je.certify(member, x, labels, 0.03).accuracies[0] > 0.7 for member in model.members] == [True, True]


def test_a_learner_without_bounds_is_refused_before_training():
    with pytest.raises(ValueError, match=r"Got Sigmoid\.$"):
        je.train_ensemble(
            *patch_dataset(200), members=1, lambda_jr=0.1, objective="ibp", validation=patch_dataset(100),
            architecture=lambda shape, classes: nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.Sigmoid()),
        )  # fmt: skip
