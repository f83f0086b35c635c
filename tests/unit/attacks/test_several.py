"""One perturbation for several models, against the mean loss written out in plain PyTorch."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import jacobian_ensembles as je
from jacobian_ensembles.models.lenet import LeNet


def linear(seed, classes=10):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(784, classes))


@pytest.fixture
def images():
    rng = torch.Generator().manual_seed(1)
    return torch.rand(12, 1, 28, 28, generator=rng), torch.arange(12) % 10


LOSSES = {
    "cross_entropy": lambda z, y: F.cross_entropy(z, y, reduction="none").clamp(max=2.5),
    "probability": lambda z, y: 1 - z.softmax(1).gather(1, y[:, None])[:, 0],
    "margin": lambda z, y: (
        z.log_softmax(1).masked_fill(F.one_hot(y, 10).bool(), -math.inf).amax(1)
        - z.log_softmax(1).gather(1, y[:, None])[:, 0]
    ).sigmoid(),
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("batch_norm", [False, True])
def test_the_mean_of_the_models_losses_is_ascended(images, loss, batch_norm):
    x, y = images
    models = [linear(0), linear(1), nn.Sequential(linear(2), nn.BatchNorm1d(10)) if batch_norm else linear(2)]
    how = {"iterations": 4, "batch_size": 12, "step": 0.4, "loss": loss}
    found = je.craft_uaps(models, x, y, 0.1, **how, **({"loss_cap": 2.5} if loss == "cross_entropy" else {}))
    assert models[2].training  # as it came
    delta = torch.zeros(1, 28, 28)
    for model in models:
        model.eval()
    for _ in range(4):
        delta.requires_grad_(True)
        total = torch.stack([LOSSES[loss](model(x + delta), y) for model in models]).mean()
        (gradient,) = torch.autograd.grad(total, delta)
        delta = (delta.detach() + 0.04 * gradient.sign()).clamp(-0.1, 0.1)
    wrong = (found[0] != delta).double().mean()
    assert torch.allclose(found[0], delta) or wrong < 0.002  # a sign of a gradient of almost zero


def test_a_model_twice_is_the_model_once(images):
    torch.manual_seed(0)
    lenet = LeNet()
    for model in (linear(0), lenet):
        for attack, options in (("sgd", {"iterations": 5}), ("square", {"queries": 20})):
            once = je.craft_uaps(model, *images, 0.2, attack, seeds=2, **options)
            assert torch.equal(je.craft_uaps([model, model], *images, 0.2, attack, seeds=2, **options), once)


def test_a_model_that_is_wrong_beyond_its_own_cap_does_not_drown_the_other(images):
    sure = linear(1)
    sure[1].weight.data *= 1e6
    how = {"iterations": 20, "batch_size": 12, "seeds": 2}
    with pytest.raises(ValueError, match="none of 20 steps had a finite gradient other than zero"):
        je.craft_uaps(sure, *images, 0.3, **how)
    assert torch.equal(
        je.craft_uaps([linear(0), sure], *images, 0.3, **how), je.craft_uaps(linear(0), *images, 0.3, **how)
    )


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ([], "at least one. Got none"),
        ([linear(0), "linear"], "Got Sequential, str"),
        ([linear(0), linear(1, classes=11)], "the same classes. Got 10 and 11"),
        ([linear(0), nn.Flatten()], "the same classes. Got 10 and 784"),
        ([linear(0), nn.Identity()], r"the model must return scores as one tensor \(B, C\)"),
    ],
)
def test_what_cannot_be_attacked_together_is_refused(images, models, message):
    with pytest.raises(ValueError, match=message):
        je.craft_uaps(models, *images, 0.1, iterations=1)
