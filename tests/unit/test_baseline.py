"""The plain PyTorch that benchmarks compare with computes what the package computes."""

import baseline
import pytest
import torch
import torch.nn.functional as F
from helpers_science import ACTIVATIONS, SCALINGS, dyadic, give_biases, single_tap, textured, with_blank_background

from jacobian_ensembles.attacks.crafting import craft_uaps
from jacobian_ensembles.attacks.losses import loss_gradient
from jacobian_ensembles.attacks.sgd_uap import SgdUap
from jacobian_ensembles.ensembles.ensemble import Ensemble
from jacobian_ensembles.evaluation.accuracy import correct, perturb
from jacobian_ensembles.models.lenet import LeNet
from jacobian_ensembles.training.objectives.derivatives import loss_and_gradients

FLOAT64, FLOAT32 = {"rtol": 1e-9, "atol": 1e-13}, {"rtol": 1e-4, "atol": 1e-7}


def lenet(seed=0, activation="tanh", scaling=(0.0, 1.0)):
    net = LeNet(activation, 0.0, *scaling, generator=torch.Generator().manual_seed(seed))
    return give_biases(net, seed).double()


def both(nets):
    return [baseline.PlainLeNet(net) for net in nets], Ensemble([net.requires_grad_(False) for net in nets])


def images_at_the_bounds(count=8):
    """Exact zeros and ones beside grey pixels; with a step of 1/8 or -1/8 some land on a bound, some beyond."""
    levels = torch.randint(0, 9, (count, 1, 28, 28), generator=torch.Generator().manual_seed(1))
    return levels.double() / 8


def signs(scale, seed=2):
    draw = torch.rand(1, 28, 28, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.where(draw < 0.5, -scale, scale).double()


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, FLOAT64), (torch.float32, FLOAT32)])
def test_attack_gradients_agree_at_the_bounds_of_the_clip(clip, members, activation, dtype, tolerance):
    plain, ours = both([lenet(m, activation, SCALINGS[1]).to(dtype) for m in range(members)])
    # a little texture off the bounds, so that no pooling window ties by chance
    x = images_at_the_bounds()
    x = torch.where((x > 0.2) & (x < 0.8), x + 0.01 * textured(8, seed=3), x).to(dtype)
    delta, labels = signs(1 / 8).to(dtype), torch.arange(8)
    if clip:
        moved = x + delta
        assert all((moved.lt(0).any(), moved.gt(1).any(), moved.eq(0).any(), moved.eq(1).any()))
    expected = baseline.uap_gradient(plain, x, labels, delta, 12.0, clip)
    got = loss_gradient(ours, perturb(x, delta, clip), labels, 12.0)[0]
    assert expected.abs().max() > 1e-4
    torch.testing.assert_close(got, expected, **tolerance)


@pytest.mark.parametrize("blank", [True, False], ids=["black", "square"])
@pytest.mark.parametrize("net", [dyadic(lenet(activation="relu")), single_tap(lenet())], ids=["dyadic", "tap"])
def test_attack_gradients_agree_where_pooling_ties(net, blank):
    plain, ours = both([net])
    x, labels, delta = with_blank_background(blank), torch.tensor([0, 3, 5, 9]), torch.zeros(1, 28, 28).double()
    expected = baseline.uap_gradient(plain, x, labels, delta, 12.0, True)
    assert expected.any()
    torch.testing.assert_close(loss_gradient(ours, perturb(x, delta, True), labels, 12.0)[0], expected, **FLOAT64)


def test_the_loss_is_capped_alike():
    plain, ours = both([lenet(0)])
    x, labels, delta = textured(8), torch.arange(8), signs(0.1)
    losses = -ours(x + delta).gather(1, labels[:, None])
    cap = losses.flatten().sort().values[3:5].mean().item()  # between two losses: half are capped
    expected = baseline.uap_gradient(plain, x, labels, delta, cap, False)
    torch.testing.assert_close(loss_gradient(ours, x + delta, labels, cap)[0], expected, **FLOAT64)
    assert not torch.allclose(expected, baseline.uap_gradient(plain, x, labels, delta, 12.0, False))


def test_accuracies_agree():
    plain, ours = both([lenet(m).float() for m in range(2)])
    x, delta = textured(1000, dtype=torch.float32), signs(0.2).float()
    labels = ours(x + delta).argmax(1)
    labels[:250] = (labels[:250] + 1) % 10
    assert baseline.accuracy_under(plain, x, labels, delta) == pytest.approx(0.75)
    assert correct(ours, x, labels, delta[None], clip=False).float().mean().item() == pytest.approx(0.75)


def test_the_attacks_are_equally_strong():
    plain, ours = both([lenet(0).float()])
    x = textured(600, dtype=torch.float32)
    labels = ours(x).argmax(1)
    torch.manual_seed(0)
    theirs = baseline.craft_uap(plain, x, labels, 0.3, 20, 12.0, False)
    mine = craft_uaps(ours, x, labels, 0.3, SgdUap(iterations=20), [0])[0]
    hit = [1 - correct(ours, x, labels, d[None], clip=False).float().mean().item() for d in (theirs, mine)]
    assert hit[0] > 0.5
    assert hit[1] == pytest.approx(hit[0], abs=0.1)


@pytest.mark.parametrize("lam", [0.0, 0.3])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_training_steps_have_the_same_gradient(activation, lam):
    net, x, labels = lenet(1, activation, SCALINGS[1]).float(), textured(6, dtype=torch.float32), torch.arange(6)
    plain = baseline.PlainLeNet(net)
    torch.manual_seed(3)
    baseline.training_step(plain, torch.optim.SGD(plain.parameters(), lr=0.0), x, labels, lam)
    torch.manual_seed(3)
    directions = F.normalize(torch.randn(6, 10), dim=1)[None]
    _, gradients = loss_and_gradients(net, x, labels, lam, directions)
    for (name, p), ours in zip(net.named_parameters(), gradients, strict=True):
        torch.testing.assert_close(ours, p.grad, rtol=1e-3, atol=1e-5 * p.grad.abs().max().item(), msg=name)
