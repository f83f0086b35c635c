"""The public interface on models that know nothing of this package."""

import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers_science import patch_dataset
from torch import nn

import jacobian_ensembles as je
from jacobian_ensembles.attacks.sgd_uap import SgdUap
from jacobian_ensembles.ensembles.methods import Method
from jacobian_ensembles.models.lenet import LeNet
from jacobian_ensembles.training.recipe import Recipe

IMAGES, LABELS = patch_dataset(300, seed=0)
QUICK = SgdUap(iterations=10, batch_size=50)


def linear(classes=10, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(784, classes))


def test_importing_the_package_imports_no_torch_and_every_public_name_exists():
    code = "import sys, jacobian_ensembles as je; print('torch' in sys.modules, set(je.PUBLIC) <= set(dir(je)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
    assert all(getattr(je, name).__name__ == name for name in je.PUBLIC)
    with pytest.raises(AttributeError, match="no attribute 'craft'"):
        _ = je.craft


def test_a_linear_classifiers_perturbation_is_its_mean_gradients_sign():
    # zero start, one step of 0.8 eps: the whole batch's gradient is W^T (softmax - onehot), averaged
    model = linear()
    settings = SgdUap(iterations=1, batch_size=300, loss_cap=None)
    delta = je.craft_uaps(model, IMAGES, LABELS, 0.1, settings, seeds=[7])[0]
    with torch.no_grad():
        residual = model(IMAGES).softmax(1) - F.one_hot(LABELS, 10)
        gradient = (residual.mean(0) @ model[1].weight).view(1, 28, 28)
    torch.testing.assert_close(delta, 0.08 * gradient.sign())


def test_logits_and_log_probabilities_are_attacked_alike():
    class LogProbabilities(nn.Module):
        def forward(self, x):
            return linear()(x).log_softmax(1)

    ours = [je.craft_uaps(m, IMAGES, LABELS, 0.1, QUICK, seeds=[0]) for m in (linear(), LogProbabilities())]
    torch.testing.assert_close(*ours)


def test_a_model_is_attacked_and_evaluated_in_evaluation_mode_and_put_back_as_it_was():
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.drop = linear(), nn.Dropout(0.9)
            self.drop.eval()  # a mixture of modes must survive, too

        def forward(self, x):
            assert not self.training
            return self.net(self.drop(x))

    model = Noisy()
    je.craft_uaps(model, IMAGES, LABELS, 0.1, QUICK)
    je.evaluate(model, IMAGES, LABELS)
    je.jacobian_norm(model, IMAGES[:2])
    assert (model.training, model.net.training, model.drop.training) == (True, True, False)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (
            255 * IMAGES,
            LABELS,
            r"floats in \[0, 1\]. Got torch.float32 in \[[0-9.e-]+, 25[0-9.]+\]. Divide bytes by 255",
        ),
        (IMAGES - 0.5, LABELS, r"in \[-0.[45]"),
        ((255 * IMAGES).byte(), LABELS, "Got torch.uint8"),
        (IMAGES, LABELS[:-1], "labels must be 300 integers"),
        (IMAGES, LABELS.float(), "labels must be 300 integers. Got torch.float32"),
    ],
)
def test_images_out_of_range_and_labels_that_do_not_match_are_refused(images, labels, message):
    for function in (
        lambda: je.evaluate(linear(), images, labels),
        lambda: je.craft_uaps(linear(), images, labels, 0.1),
    ):
        with pytest.raises(ValueError, match=message):
            function()


@pytest.mark.parametrize("eps", [0, 1.5])
def test_an_eps_outside_its_range_is_refused(eps):
    with pytest.raises(ValueError, match=r"eps must lie in \(0, 1\]"):
        je.craft_uaps(linear(), IMAGES, LABELS, eps)


def test_an_evaluation_counts_by_hand():
    # one pixel decides: class 1 above one half
    class Pixel(nn.Module):
        def forward(self, x):
            return torch.stack([0.5 - x[:, 0, 0, 0], x[:, 0, 0, 0] - 0.5], 1)

    images = torch.tensor([0.1, 0.3, 0.7, 0.9]).view(4, 1, 1, 1)
    deltas = torch.tensor([0.3, 0.0, -0.25]).view(3, 1, 1, 1)
    found = je.evaluate(Pixel(), images, torch.tensor([0, 0, 1, 0]), deltas)
    assert found.clean_accuracy == 0.75
    # +0.3 moves the second over; -0.25 moves the third under, where the last stays wrong
    assert found.correct.tolist() == [[True, False, True, False], [True, True, True, False], [True, True, False, False]]
    assert found.accuracies.tolist() == [0.5, 0.75, 0.5]
    assert (found.worst, found.worst_accuracy) == (0, 0.5)
    table = found.to_pandas()
    assert table.index.tolist() == ["clean", 0, 1, 2]
    np.testing.assert_allclose(table["size"], [0, 0.3, 0, 0.25], rtol=1e-6)
    assert table.loc["clean", "accuracy"] == 0.75
    # Wilson's interval of 3 of 4 at 95 %
    np.testing.assert_allclose(table.loc["clean", ["low", "high"]].astype(float), [0.3006, 0.9544], atol=1e-4)
    assert found.per_class().loc[0, "clean"] == pytest.approx(2 / 3)
    assert found.per_class().loc[1].tolist() == [1, 1, 1, 0]


def test_sizes_are_those_of_the_norm_asked_for():
    deltas = torch.tensor([[0.4, 0.0, 0.0, 0.0], [0.1, -0.1, 0.1, 0.1]]).view(2, 1, 2, 2)
    images, labels = torch.zeros(3, 1, 2, 2), torch.zeros(3, dtype=torch.int64)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    for norm, expected in (("linf", [0.4, 0.1]), ("l2", [0.2, 0.1])):
        found = je.evaluate(model, images, labels, deltas, norm=norm)
        assert found.norm == norm
        np.testing.assert_allclose(found.sizes, expected, rtol=1e-6)
    assert je.evaluate(model, images, labels, deltas).norm == "linf"


def test_an_evaluation_without_perturbations_has_no_worst():
    found = je.evaluate(linear(), IMAGES, LABELS)
    assert found.to_pandas().shape == (1, 4)
    with pytest.raises(ValueError, match="No perturbation was evaluated"):
        _ = found.worst
    with pytest.raises(ValueError, match=r"deltas must be \(K, \(1, 28, 28\)\)"):
        je.evaluate(linear(), IMAGES, LABELS, torch.zeros(28, 28))


def test_clipping_limits_what_a_perturbation_does():
    bright = je.evaluate(
        lambda_model(), torch.full((2, 1, 1, 1), 0.9), torch.tensor([0, 0]), torch.full((1, 1, 1, 1), 0.5)
    )
    clipped = je.evaluate(
        lambda_model(), torch.full((2, 1, 1, 1), 0.9), torch.tensor([0, 0]), torch.full((1, 1, 1, 1), 0.5), clip=True
    )
    assert (bright.worst_accuracy, clipped.worst_accuracy) == (0, 1)


def lambda_model():
    class Above(nn.Module):
        def forward(self, x):
            return torch.stack([1.2 - x.flatten(1)[:, 0], x.flatten(1)[:, 0] - 1.2], 1)

    return Above()


def test_the_jacobian_of_a_linear_model_is_its_weight():
    model = linear()
    expected = model[1].weight.norm().expand(5)
    torch.testing.assert_close(je.jacobian_norm(model, IMAGES[:5], batch=2), expected)
    # E ||J^T v||^2 C = ||J||^2, with 4,000 projections to within a few percent
    estimate = je.jacobian_norm(model, IMAGES[:5], projections=4000)
    torch.testing.assert_close(estimate, expected, rtol=0.02, atol=0)
    assert torch.equal(
        je.jacobian_norm(model, IMAGES[:5], projections=3), je.jacobian_norm(model, IMAGES[:5], projections=3)
    )


def test_a_lenets_jacobian_is_that_of_torch():
    net = LeNet(generator=torch.Generator().manual_seed(1))
    from helpers_science import jacobians, plain_of

    expected = jacobians(plain_of(net), IMAGES[:3]).flatten(1).norm(dim=1)
    torch.testing.assert_close(je.jacobian_norm(net, IMAGES[:3]), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "ensemble", ["bagging", "snapshot", "voting", Method(sample=lambda n, rng: torch.arange(n // 2))]
)
def test_an_ensemble_is_trained_in_memory(ensemble):
    recipe = Recipe(epochs=12, batch_size=20, learning_rate=0.003)
    model = je.train_ensemble(IMAGES, LABELS, ensemble, members=2, lambda_jr=0.01, recipe=recipe)
    assert len(model.members) == 2
    assert all(isinstance(member, LeNet) for member in model.members)
    assert je.evaluate(model, *patch_dataset(100, seed=5)).clean_accuracy > 0.8
    assert not any(p.requires_grad for p in model.parameters())


def test_members_nest_and_seeds_matter():
    recipe = Recipe(epochs=2, batch_size=20, learning_rate=0.003)
    held_out = patch_dataset(100, seed=1)

    def first(members, seed=0):
        model = je.train_ensemble(
            IMAGES, LABELS, "bagging", members, recipe=recipe, validation=held_out, seed=seed,
            architecture=lambda shape, classes, hidden: nn.Sequential(nn.Flatten(), nn.Linear(784, classes)),
            options={"hidden": 3},
        )  # fmt: skip
        return model.members[0][1].weight

    assert torch.equal(first(1), first(2))
    assert not torch.equal(first(1), first(1, seed=1))


def test_a_torchvision_model_is_attacked_and_evaluated():
    """Another architecture, colour, another size: a ShuffleNet on 3 x 32 x 32, through automatic differentiation."""
    from torchvision.models import shufflenet_v2_x0_5

    torch.manual_seed(0)
    model = shufflenet_v2_x0_5(num_classes=2)
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(64) % 2
    images = 0.3 * torch.rand(64, 3, 32, 32, generator=rng)
    images[labels == 1, 0] += 0.5
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(10):
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
    for _ in range(100):  # so that the batch norms' averages settle
        with torch.no_grad():
            model(images)
    deltas = je.craft_uaps(model, images, labels, 0.4, SgdUap(iterations=5, batch_size=32), seeds=[0, 1])
    assert deltas.shape == (2, 3, 32, 32)
    assert deltas.abs().max() <= 0.4
    found = je.evaluate(model, images, labels, deltas)
    assert found.clean_accuracy > 0.95
    assert found.worst_accuracy < found.clean_accuracy - 0.2
    assert je.jacobian_norm(model, images[:2]).shape == (2,)
