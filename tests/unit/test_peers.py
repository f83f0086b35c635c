"""Against other packages, where they are installed (pip install --group peers): the same delta must cost the same."""

import pytest
import torch
from helpers_science import patch_dataset
from torch import nn

import jacobian_ensembles as je
from jacobian_ensembles.attacks.ascent import project
from jacobian_ensembles.attacks.sgd_uap import SgdUap
from jacobian_ensembles.models.intervals import layers_of, margin_bounds
from jacobian_ensembles.training.recipe import Recipe

pytestmark = pytest.mark.peers

IMAGES, LABELS = patch_dataset(400, seed=0)
TEST = patch_dataset(200, seed=1)


@pytest.fixture(scope="module")
def model():
    """A regularised LeNet ensemble of ours, trained on the spot."""
    recipe = Recipe(epochs=6, batch_size=20, learning_rate=0.003)
    return je.train_ensemble(IMAGES, LABELS, "voting", 2, 0.01, recipe=recipe, validation=patch_dataset(100, seed=2))


@pytest.fixture(scope="module")
def peer(model):
    """The same model as a classifier of the adversarial-robustness-toolbox."""
    estimators = pytest.importorskip("art.estimators.classification")
    return estimators.PyTorchClassifier(
        model=model, loss=nn.CrossEntropyLoss(), input_shape=(1, 28, 28), nb_classes=10, device_type="cpu"
    )


def test_the_toolbox_finds_the_same_accuracy_for_our_perturbations(model, peer):
    deltas = je.craft_uaps(model, IMAGES, LABELS, 0.3, SgdUap(iterations=20, batch_size=100), seeds=[0, 1])
    ours = je.evaluate(model, *TEST, deltas)
    for delta, accuracy in zip(deltas, ours.accuracies, strict=True):
        predicted = peer.predict((TEST[0] + delta).numpy()).argmax(1)
        assert (predicted == TEST[1].numpy()).mean() == accuracy
    assert (peer.predict(TEST[0].numpy()).argmax(1) == ours.predicted).all()
    assert ours.worst_accuracy < ours.clean_accuracy


def test_the_toolbox_takes_the_same_gradient(model, peer):
    """Its loss gradient, by automatic differentiation, against our explicit one."""
    from jacobian_ensembles.attacks.losses import loss_gradient

    x, y = TEST[0][:50], TEST[1][:50]
    theirs = torch.from_numpy(peer.loss_gradient(x.numpy(), nn.functional.one_hot(y, 10).numpy())).sum(0)
    ours = loss_gradient(model, x, y, cap=None)[0]
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_the_toolbox_projects_alike():
    utils = pytest.importorskip("art.utils")
    delta = torch.randn(3, 784, generator=torch.Generator().manual_seed(0))
    theirs = utils.projection(delta.numpy(), 0.2, float("inf"))
    torch.testing.assert_close(project(delta, 0.2), torch.from_numpy(theirs), rtol=0, atol=1e-7)


# Of a single image, a universal attack is an attack on that image, and the toolbox has these.
ONE = {"iterations": 8, "batch_size": 1, "step": 0.2, "loss_cap": None}


@pytest.mark.parametrize(
    ("options", "norm", "arguments"),
    [
        ({"momentum": 0.9}, "linf", {"decay": 0.9}),
        ({"momentum": 0.9, "norm": "l2"}, "l2", {"decay": 0.9}),
        ({"norm": "l2"}, "l2", {}),
        ({}, "linf", {}),
    ],
    ids=["momentum", "momentum-l2", "l2", "linf"],
)
def test_of_one_image_our_steps_are_those_of_the_toolbox(model, peer, options, norm, arguments):
    attacks = pytest.importorskip("art.attacks.evasion")
    radius = 0.2 * (28 if norm == "l2" else 1)  # ours is the root of the mean square: eps sqrt(784)
    attack = attacks.ProjectedGradientDescent(
        peer, norm={"linf": float("inf"), "l2": 2}[norm], eps=radius, eps_step=0.2 * radius, max_iter=8, verbose=False,
        **arguments,
    )  # fmt: skip
    apart = []
    for i in range(9):
        x, y = TEST[0][i : i + 1], TEST[1][i : i + 1]
        (ours,) = je.craft_uaps(model, x, y, 0.2, **ONE, **options)
        theirs = torch.from_numpy(attack.generate(x.numpy(), y.numpy())) - x
        assert theirs.abs().max() > 0.15
        apart.append((ours - theirs[0]).abs().max().item())
    # rounding may switch the winner of a pooling window, after which the steps go other ways
    assert sorted(apart)[6] < 2e-5


def test_of_one_image_our_targeted_steps_are_those_of_the_toolbox(model, peer):
    attacks = pytest.importorskip("art.attacks.evasion")
    attack = attacks.BasicIterativeMethod(peer, eps=0.3, eps_step=0.06, max_iter=8, targeted=True, verbose=False)
    x, y = TEST[0][:1], TEST[1][:1]
    ours = je.craft_uaps(model, x, y, 0.3, target="each", seeds=range(3), **ONE)
    for target, delta in enumerate(ours):
        theirs = torch.from_numpy(attack.generate(x.numpy(), torch.tensor([target]).numpy())) - x
        torch.testing.assert_close(delta, theirs[0], rtol=0, atol=2e-5)


def test_a_universal_perturbation_of_the_toolbox_costs_what_it_says(model, peer):
    """Its own attack's perturbation, evaluated by us: the accuracy that its own classifier reports."""
    attacks = pytest.importorskip("art.attacks.evasion")
    attack = attacks.UniversalPerturbation(
        peer, attacker="fgsm", attacker_params={"eps": 0.1}, eps=0.3, max_iter=1, batch_size=100, verbose=False
    )
    moved = attack.generate(IMAGES[:100].numpy())
    delta = torch.from_numpy(attack.noise.reshape(1, 1, 28, 28)).float()
    assert delta.abs().max() <= 0.3 + 1e-6
    ours = je.evaluate(model, IMAGES[:100], LABELS[:100], delta, clip=True)
    theirs = (peer.predict(moved).argmax(1) == LABELS[:100].numpy()).mean()
    assert ours.accuracies[0] == pytest.approx(theirs, abs=0.011)  # one image may sit on the boundary


def test_a_model_of_torchensemble_is_attacked_and_evaluated():
    torchensemble = pytest.importorskip("torchensemble")
    torch.manual_seed(0)

    class Linear(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(784, 10)

        def forward(self, x):
            return self.layer(x.flatten(1))

    theirs = torchensemble.VotingClassifier(estimator=Linear, n_estimators=3, cuda=False)
    theirs.set_criterion(nn.CrossEntropyLoss())
    theirs.set_optimizer("Adam", lr=0.01)
    batches = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(IMAGES, LABELS), batch_size=50, shuffle=True)
    theirs.fit(batches, epochs=8, log_interval=1000, save_model=False)

    class LogProbabilities(nn.Module):  # torchensemble returns probabilities
        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, x):
            return self.net(x).clamp(min=1e-30).log()

    model = LogProbabilities(theirs)
    deltas = je.craft_uaps(model, IMAGES, LABELS, 0.3, SgdUap(iterations=20, batch_size=100), seeds=[0])
    found = je.evaluate(model, *TEST, deltas)
    assert found.clean_accuracy > 0.9
    assert found.worst_accuracy < found.clean_accuracy - 0.1
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*TEST), batch_size=100)
    assert theirs.evaluate(loader) == pytest.approx(100 * found.clean_accuracy, abs=1e-3)
    assert len(found.to_pandas()) == 2


@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU])
def test_bound_propagation_finds_the_same_intervals(activation):
    """Its layers are linear ones, tanh and ReLU; its last one, folded by hand for one label, gives margins."""
    theirs = pytest.importorskip("bound_propagation")
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(784, 30), activation(), nn.Linear(30, 20), activation(), nn.Linear(20, 10)).double()
    x, eps, label = TEST[0][:50].flatten(1).double(), 0.02, 3
    ours = margin_bounds(layers_of(net), x, torch.full_like(x, eps), torch.full((50,), label))
    folded = nn.Linear(20, 10).double()
    with torch.no_grad():
        folded.weight.copy_(net[-1].weight[label] - net[-1].weight)
        folded.bias.copy_(net[-1].bias[label] - net[-1].bias)
    bounded = theirs.BoundModelFactory().build(nn.Sequential(*net[:-1], folded))
    found = bounded.ibp(theirs.HyperRectangle.from_eps(x, eps))
    torch.testing.assert_close(ours.low, found.lower, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours.high, found.upper, rtol=1e-12, atol=1e-12)
    assert (ours.low < -0.01).any()
