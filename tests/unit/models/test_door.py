"""What users' models return, write to and remember: served rightly, or refused in one clear line."""

import copy
from collections import OrderedDict
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import jacobian_ensembles as je
from jacobian_ensembles.attacks.sgd_uap import SgdUap
from jacobian_ensembles.ensembles.ensemble import Ensemble
from jacobian_ensembles.models.door import scores
from jacobian_ensembles.models.lenet import LeNet
from jacobian_ensembles.training.recipe import Recipe

torch.manual_seed(0)
X, Y = torch.rand(60, 1, 4, 4), torch.arange(60) % 3
NET = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).requires_grad_(False)
QUICK = SgdUap(iterations=3, batch_size=20)


class Returns(nn.Module):
    """A classifier whose scores are handed on in another form."""

    def __init__(self, form, net=NET):
        super().__init__()
        self.net, self.form = net, form

    def forward(self, x):
        return self.form(self.net(x))


def calls(model, x=X, y=Y):
    return [
        lambda: je.evaluate(model, x, y, torch.zeros(1, 1, 4, 4)),
        lambda: je.craft_uaps(model, x, y, 0.1, QUICK),
        lambda: je.jacobian_norm(model, x[:4]),
    ]


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (lambda z: (z, z), r"returned a tuple of 2: wrap it in a module whose forward returns net\(x\)\[0\]"),
        (lambda z: [z], "returned a list of 1"),
        (lambda z: {"logits": z}, r"returned a dict with 'logits': wrap it .* net\(x\)\['logits'\]"),
        (lambda z: OrderedDict(out=z, aux=z), "returned a OrderedDict with 'out', 'aux'"),
        (lambda z: SimpleNamespace(logits=z), r"returned a SimpleNamespace: .* net\(x\).logits"),
        (lambda z: None, "returned a NoneType"),
        (lambda z: z.numpy(), "returned a ndarray"),
        (lambda z: z[:, :1], r"C >= 2. It returned \(\d+, 1\): of a single logit z, return two scores"),
        (lambda z: z[:, 0], "not the chosen class; of a single logit"),
        (lambda z: z.argmax(1), r"returned torch.int64 \(\d+,\)"),
        (lambda z: z[:, :, None, None], r"\(\d+, 3, 1, 1\): end it with .flatten\(1\)"),
        (lambda z: z[:, :, None].expand(-1, -1, 5), r"\(\d+, 3, 5\): wrap it"),
        (lambda z: z[:-1], r"\(\d+, 3\): wrap it"),
        (lambda z: z.T, "a row per image"),
        (lambda z: z.sum(), r"returned torch.float32 \(\)"),
        (lambda z: z > 0, "returned torch.bool"),
        (lambda z: z.to(torch.complex64), "returned torch.complex64"),
        (lambda z: z * float("nan"), "returned NaN for clean images"),
        (lambda z: z[:, :0], "C >= 2"),
    ],
)
def test_what_is_not_one_row_of_scores_per_image_is_refused_everywhere(form, message):
    for call in calls(Returns(form)):
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(ValueError, match=r"(must return|members|returned)"):
        je.evaluate(Ensemble([Returns(form), NET]), X, Y)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (Y + 1, r"labels must lie in \[0, 3\), as the model returns 3 scores. Got 1 to 3: subtract 1"),
        (Y + 255, "Got 255 to 257: give the images of this model's classes"),
        ((Y + 1).to(torch.uint8), "subtract 1"),
        (Y * 2, "Got 0 to 4"),
    ],
)
def test_labels_beyond_the_scores_are_refused_with_the_largest(labels, message):
    for call in calls(NET, y=labels)[:2]:
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32])
def test_small_integer_labels_give_what_int64_gives(dtype):
    assert torch.equal(je.craft_uaps(NET, X, Y.to(dtype), 0.1, QUICK), je.craft_uaps(NET, X, Y, 0.1, QUICK))
    assert je.evaluate(NET, X, Y.to(dtype)).clean_accuracy == je.evaluate(NET, X, Y).clean_accuracy


class Writes(nn.Module):
    """Normalises, clips or erases its input in place, as torchvision's Normalize(inplace=True) does."""

    def __init__(self, how, net=NET):
        super().__init__()
        self.net, self.how = net, how

    def forward(self, x):
        return self.net(self.how(x))


WRITERS = {
    "normalises": lambda x: x.sub_(0.5).div_(0.25),
    "clips": lambda x: x.clamp_(0.2, 0.8),
    "erases": lambda x: x[:, :, :2].zero_().new_tensor(0) + x,
    "relu": lambda x: nn.functional.relu(x - 0.5, inplace=True) + x.mul_(0.5),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_model_that_writes_to_its_input_reaches_nobodys_memory(writer):
    how = WRITERS[writer]
    model, copying = Writes(how), Writes(lambda x: how(x.clone()))
    kept = X.clone()
    deltas = je.craft_uaps(model, X, Y, 0.1, QUICK, seeds=[0, 1])
    assert torch.equal(deltas, je.craft_uaps(copying, X, Y, 0.1, QUICK, seeds=[0, 1]))
    found, expected = (je.evaluate(m, X, Y, torch.cat([deltas, 0 * deltas])) for m in (model, copying))
    assert (found.correct == expected.correct).all()
    assert found.clean_accuracy == found.accuracies[-1]
    assert torch.equal(je.jacobian_norm(model, X), je.jacobian_norm(copying, X))
    assert torch.equal(je.jacobian_norm(model, X, projections=2), je.jacobian_norm(copying, X, projections=2))
    both = Ensemble([model, copying, NET])(X)
    torch.testing.assert_close(both, Ensemble([copying, copying, NET])(X))
    assert torch.equal(X, kept)


def separable(count=200):
    labels = torch.arange(count) % 3
    images = 0.2 * torch.rand(count, 1, 4, 4)
    for c in range(3):
        images[labels == c, :, c] += 0.7
    return images, labels


def builder(how=lambda x: x, width=None, dtype=None):
    def build(shape, classes):
        return Writes(how, nn.Sequential(nn.Flatten(), nn.Linear(16, width or classes)).to(dtype))

    return build


@pytest.mark.parametrize("lambda_jr", [0, 0.01])
def test_training_a_model_that_writes_to_its_input_changes_no_image(lambda_jr):
    x, y = separable()
    kept = x.clone()
    recipe = Recipe(epochs=8, batch_size=10, learning_rate=0.05)
    how = WRITERS["normalises"]
    a, b = (
        je.train_ensemble(x, y, members=2, lambda_jr=lambda_jr, recipe=recipe, architecture=builder(h))
        for h in (how, lambda x: how(x.clone()))
    )
    assert torch.equal(x, kept)
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            builder(width=1000),
            "must return 3 scores, one per class of the dataset. It returned 1000: build its last layer",
        ),
        (builder(width=2), "It returned 2"),
        (builder(width=1), "C >= 2"),
        (builder(dtype=torch.bfloat16), "parameters must be float32. Got torch.bfloat16"),
        (builder(dtype=torch.float64), "Got torch.float64"),
        (lambda shape, classes: NET, "Got none that requires a gradient"),
        (lambda shape, classes: lambda x: x, "must build a torch.nn.Module. Got function"),
        (lambda shape, classes: Returns(lambda z: (z, z), nn.Sequential(nn.Flatten(), nn.Linear(16, 3))), "tuple of 2"),
    ],
)
@pytest.mark.parametrize("lambda_jr", [0, 0.1])
def test_an_architecture_that_does_not_fit_is_refused_before_any_step(build, message, lambda_jr):
    with pytest.raises(ValueError, match=message):
        je.train_ensemble(*separable(), lambda_jr=lambda_jr, architecture=build)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lambda_jr": -0.1}, "lambda must be a finite number >= 0. Got -0.1"),
        ({"lambda_jr": float("nan")}, "lambda must be"),
        ({"lambda_jr": float("inf")}, "lambda must be"),
        ({"members": 0}, "members must be a whole number from 1 on. Got 0"),
        (
            {"validation": (X[:3], Y[:3])},
            "validation split must tell a learner from a guess. Got 3 images, 1 of one class",
        ),
        ({"validation": (X, 0 * Y)}, "Got 60 images, 60 of one class"),
        ({"validation": (X, Y + 1)}, "labels below 3. Got .*up to 3"),
        ({"validation": (torch.rand(60, 1, 5, 5), Y)}, r"images \(1, 4, 4\), labels below 3. Got images \(1, 5, 5\)"),
        ({"validation": (X[:0], Y[:0])}, "N >= 1"),
    ],
)
def test_training_that_cannot_work_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        je.train_ensemble(*separable(), architecture=builder(), **change)


@pytest.mark.parametrize("count", [1, 2, 5, 9, 12])
def test_tiny_sets_are_refused_or_trained_on(count):
    x, y = separable(count)
    with pytest.raises(ValueError, match=r"(two classes|tell a learner from a guess)"):
        je.train_ensemble(x, y, architecture=builder())
    model = je.evaluate(NET, x, y)
    assert len(model.labels) == count


@pytest.mark.parametrize("images", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("weights", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_precision_of_images_and_models_is_served(images, weights):
    net, x = copy.deepcopy(NET).to(weights), X.to(images)
    deltas = je.craft_uaps(net, x, Y, 0.1, QUICK)
    assert deltas.dtype == (torch.float64 if images == torch.float64 else torch.float32)
    assert deltas.abs().max() <= 0.1 + 1e-6
    found, exact = je.evaluate(net, x, Y, deltas), je.evaluate(NET, X, Y, deltas)
    assert abs(found.clean_accuracy - exact.clean_accuracy) <= 0.05
    torch.testing.assert_close(je.jacobian_norm(net, x).float(), je.jacobian_norm(NET, X), rtol=0.03, atol=0)
    assert next(net.parameters()).dtype == weights


def test_a_half_precision_lenet_is_served():
    nets = [LeNet(generator=torch.Generator().manual_seed(i)) for i in range(2)]
    x, y = torch.rand(20, 1, 28, 28), torch.arange(20) % 10
    half = Ensemble([copy.deepcopy(net).bfloat16() for net in nets])
    deltas = je.craft_uaps(half, x, y, 0.1, QUICK)
    exact = je.craft_uaps(Ensemble(nets), x, y, 0.1, QUICK)
    assert (deltas.sign() == exact.sign()).float().mean() > 0.8
    je.evaluate(half, x.half(), y, deltas)


def test_a_quantised_model_and_one_without_parameters_are_served():
    assert scores(lambda x: x.flatten(1)[:, :3], X).shape == (60, 3)
    whole = Returns(lambda z: (100 * z).to(torch.int32))
    assert (
        je.evaluate(whole, X, Y).clean_accuracy
        == je.evaluate(Returns(lambda z: (100 * z).floor()), X, Y).clean_accuracy
    )


class Drifts(nn.Module):
    """Remembers how often it was called."""

    def __init__(self):
        super().__init__()
        self.net, self.calls = NET, 0

    def forward(self, x):
        self.calls += 1
        return self.net(x) + self.calls


@pytest.mark.parametrize(
    ("model", "warned"),
    [
        (Drifts(), True),
        (Returns(lambda z: z + torch.rand_like(z)), True),
        (Returns(lambda z: nn.functional.dropout(z, 0.5)), True),
        (NET, False),
        (Returns(lambda z: z.log_softmax(1)), False),
        (Returns(lambda z: nn.functional.dropout(z, 0.5, training=False)), False),
    ],
    ids=["counts", "noise", "functional-dropout", "plain", "log-probabilities", "evaluation-dropout"],
)
def test_a_model_that_changes_between_calls_is_noticed(model, warned, caplog):
    je.evaluate(model, X, Y)
    assert ("the same images other scores the second time" in caplog.text) == warned


@pytest.mark.parametrize(
    ("form", "warned"),
    [
        (lambda z: z.softmax(1), True),
        (lambda z: z.softmax(1).round(decimals=4), True),
        (lambda z: z.log_softmax(1), False),
        (lambda z: z, False),
        (lambda z: z.sigmoid(), False),
        (lambda z: z.relu(), False),
    ],
)
def test_probabilities_are_noticed(form, warned, caplog):
    je.evaluate(Returns(form), X, Y)
    assert ("the model returns probabilities" in caplog.text) == warned


def test_nan_under_a_perturbation_is_refused():
    root = Writes(lambda x: x.sqrt())
    je.evaluate(root, X, Y, torch.zeros(1, 1, 4, 4))
    with pytest.raises(ValueError, match=r"NaN for perturbed images, which may lie outside \[0, 1\]"):
        je.evaluate(root, X, Y, torch.full((1, 1, 4, 4), -0.9))
    je.evaluate(root, X, Y, torch.full((1, 1, 4, 4), -0.9), clip=True)


@pytest.mark.parametrize(
    ("deltas", "message"),
    [
        (torch.full((1, 1, 4, 4), float("nan")), "deltas must be finite"),
        (torch.full((1, 1, 4, 4), float("inf")), "deltas must be finite"),
        (torch.zeros(1, 4, 4), r"one perturbation each. Got \(1, 4, 4\)"),
        (torch.zeros(1, 3, 4, 4), "Got"),
        (torch.zeros(1, 1, 4, 4).numpy(), "Got ndarray"),
    ],
)
def test_perturbations_that_do_not_fit_are_refused(deltas, message):
    with pytest.raises(ValueError, match=message):
        je.evaluate(NET, X, Y, deltas)


@pytest.mark.parametrize("projections", [None, 2])
def test_the_jacobian_of_what_cannot_be_differentiated_is_refused(projections):
    with pytest.raises(ValueError, match="cannot be differentiated"):
        je.jacobian_norm(Returns(lambda z: z.detach()), X, projections)
    constant = nn.Parameter(torch.rand(1, 3))
    assert not je.jacobian_norm(lambda x: constant.expand(len(x), 3), X, projections).any()
