import pytest
import torch
import torch.nn.functional as F
from helpers_science import give_biases, linear_net, plain_of, textured

from jacobian_ensembles.models.lenet import LeNet
from jacobian_ensembles.training.objectives.adversarial import Adversarial
from jacobian_ensembles.training.objectives.objective import Batch

WEIGHTS = [[1.0, -2.0, 0.5, 3.0], [0.0, 1.0, 0.0, 3.5]]
TOWARDS_1 = torch.tensor([-1.0, 1.0, -1.0, 1.0], dtype=torch.float64)


def batch(images, labels, classes=2, seed=0):
    return Batch(images, labels, classes, 1, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("steps", [1, 3, 7])
def test_on_a_linear_model_every_image_is_moved_to_its_own_corner_from_wherever_it_starts(steps):
    x, labels = torch.rand(8, 4).double(), torch.tensor([0, 1] * 4)
    found = Adversarial(0.3, steps=steps).perturbed(linear_net(WEIGHTS), batch(x, labels))
    expected = 0.3 * torch.where(labels[:, None] == 0, TOWARDS_1, -TOWARDS_1)
    torch.testing.assert_close(found - x, expected)


def test_the_start_is_anywhere_within_eps_and_short_steps_end_near_it():
    x, labels = torch.zeros(500, 4).double(), torch.zeros(500, dtype=torch.int64)
    found = Adversarial(0.3, steps=1, step=1e-6).perturbed(linear_net(WEIGHTS), batch(x, labels))
    assert found.abs().max() <= 0.3
    assert abs(found.mean()) < 4.5 * 0.3 / (3 * 2000) ** 0.5
    assert found.std().item() == pytest.approx(0.3 / 3**0.5, rel=0.05)


def test_the_learner_is_trained_on_what_was_found_and_loses_more_there():
    net = give_biases(LeNet(generator=torch.Generator().manual_seed(0)))
    x, labels = textured(4, dtype=torch.float32), torch.tensor([3, 1, 4, 1])
    objective = Adversarial(0.1)
    moved = objective.perturbed(net, batch(x, labels, 10))
    assert 0.099 < (moved - x).abs().max() <= 0.1 + 1e-6
    value, gradients = objective.gradients(net, batch(x, labels, 10))
    exact = LeNet().double()
    exact.load_state_dict(net.state_dict())
    loss = F.cross_entropy(plain_of(exact)(moved.double()), labels)
    torch.testing.assert_close(value.double(), loss.detach(), rtol=1e-5, atol=0)
    for ours, theirs in zip(gradients, torch.autograd.grad(loss, list(exact.parameters())), strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-3, atol=1e-4 * theirs.abs().max().item())
    assert loss > F.cross_entropy(plain_of(exact)(x.double()), labels)
