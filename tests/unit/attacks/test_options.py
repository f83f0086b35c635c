"""Steps, norms and targets of the built-in attack: written out again, and on models whose answer is known."""

import math

import pytest
import torch
from torch import nn

import jacobian_ensembles as je
from jacobian_ensembles.attacks.ascent import project, steepest
from jacobian_ensembles.attacks.sgd_uap import SgdUap
from jacobian_ensembles.config.cells import Cell
from jacobian_ensembles.config.schema import Attack
from jacobian_ensembles.stages.craft_uaps import craft_uaps as craft_stage
from jacobian_ensembles.storage.perturbations import load_uaps

LOSSES = ["cross_entropy", "probability", "margin", "members"]


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def linear(classes=4, size=9, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(size, classes)).double().requires_grad_(False)


X, Y = torch.rand(30, 1, 3, 3, generator=seeded(0), dtype=torch.float64), torch.arange(30) % 4


def written_out(model, images, labels, eps, s, seed, target=None):
    """One perturbation by the definitions, with autograd and loops over parts of a batch."""
    rng, d = seeded(seed), images[0].numel()
    delta, velocity = torch.zeros_like(images[0]), torch.zeros_like(images[0])
    order, at = torch.randperm(len(images), generator=rng), 0

    def move(point, g, step):
        if s.norm == "linf":
            return (point + step * g.sign()).clamp(-eps, eps)
        point = point + step * math.sqrt(d) * g / g.norm()
        return point * min(1, eps * math.sqrt(d) / point.norm().item())

    def gradient(point, index):
        point = point.clone().requires_grad_(True)
        p = model(images[index] + point).softmax(1)
        y = labels[index] if target is None else torch.full_like(index, target)
        own = p[range(len(index)), y]
        if s.loss == "probability":
            loss = 1 - own
        elif s.loss == "margin":
            other = torch.stack([max(row[c] for c in range(len(row)) if c != k) for row, k in zip(p, y, strict=True)])
            loss = torch.sigmoid(other.log() - own.log())
        else:
            loss = -own.log()
        return torch.autograd.grad(loss.mean() * (1 if target is None else -1), point)[0]

    for i in range(s.iterations):
        if at + s.batch_size > len(images):
            order, at = torch.randperm(len(images), generator=rng), 0
        index, at = order[at : at + s.batch_size], at + s.batch_size
        step = eps * s.step * (1 - i / s.iterations if s.step_rule == "decay" else 1)
        size = -(-s.batch_size // s.inner_batches)
        point, total = delta, 0
        for part in index.split(size):
            g = gradient(point, part)
            total, point = total + g, move(point, g, step)
        if s.momentum:
            total = velocity = s.momentum * velocity + total / total.abs().mean()
        delta = move(delta, total, step)
    return delta


@pytest.mark.parametrize(
    "options",
    [
        {"loss": "margin", "step_rule": "decay"},
        {"loss": "probability", "norm": "l2"},
        {"momentum": 0.9, "step": 0.2},
        {"momentum": 1, "norm": "l2", "step": 0.3},
        {"inner_batches": 3, "step": 0.3},
        {"inner_batches": 5, "step": 0.1, "norm": "l2", "momentum": 0.5, "loss": "margin", "step_rule": "decay"},
        {"target": "each", "loss": "margin", "step": 0.2},
        {"target": "each", "norm": "l2", "inner_batches": 2, "momentum": 0.9},
    ],
)
def test_every_option_follows_the_attack_written_out(options):
    model, eps = linear(), 0.2
    s = SgdUap(**{"iterations": 7, "batch_size": 10, **options})
    got = je.craft_uaps(model, X, Y, eps, s, seeds=[5, 9, 6], first=2)
    for k, (delta, seed) in enumerate(zip(got, (5, 9, 6), strict=True)):
        target = None if s.target == "none" else (2 + k) % 4
        torch.testing.assert_close(delta.double(), written_out(model, X, Y, eps, s, seed, target), rtol=0, atol=1e-6)
    together = je.craft_uaps(model, X, Y, eps, s, seeds=[5, 9, 6], first=2, side_by_side=3)
    torch.testing.assert_close(together, got, rtol=0, atol=1e-6)


class TwoClass(nn.Module):
    """Scores (0, w . (x - 1/2)): every loss of class 0 grows along w."""

    def __init__(self):
        super().__init__()
        self.w = torch.linspace(-1, 2, 16)

    def forward(self, x):
        score = (x.flatten(1) - 0.5) @ self.w
        return torch.stack([0 * score, score], 1)


@pytest.mark.parametrize("options", [{}, {"step": 0.25}, {"momentum": 0.9}, {"inner_batches": 4}])
@pytest.mark.parametrize("loss", LOSSES)
def test_the_best_l2_perturbation_of_a_linear_model_is_its_weights(loss, options):
    model, eps = TwoClass(), 0.1
    images = torch.full((20, 1, 4, 4), 0.5)
    (delta,) = je.craft_uaps(
        model, images, torch.zeros(20, dtype=int), eps, norm="l2", loss=loss, batch_size=8, iterations=10, **options
    )
    expected = eps * math.sqrt(16) * model.w / model.w.norm()
    torch.testing.assert_close(delta.flatten(), expected, rtol=1e-5, atol=1e-7)
    assert delta.square().mean().sqrt().item() == pytest.approx(eps)
    assert delta.abs().max() > eps  # which the other norm would not allow


def test_l2_projection_and_direction():
    delta = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]])
    radius = 1 / math.sqrt(2)  # an L2 norm of one
    expected = torch.tensor([[0.6, 0.8], [0.3, 0.4], [0.0, 0.0]])
    torch.testing.assert_close(project(delta, radius, "l2"), expected)
    assert torch.equal(project(delta, radius, "l2")[1:], delta[1:])  # those within are left as they are
    direction = steepest(delta * torch.tensor([1e-30]), "l2")
    torch.testing.assert_close(direction.square().mean(1), torch.tensor([1.0, 1.0, 0.0]))
    assert torch.equal(steepest(delta), delta.sign())


@pytest.mark.parametrize("init", ["uniform", "sign"])
def test_random_starts_lie_within_the_l2_ball(init):
    deltas = je.craft_uaps(linear(), X, Y, 0.2, norm="l2", init=init, iterations=0, seeds=range(5))
    assert deltas.flatten(1).square().mean(1).sqrt().max() <= 0.2 * (1 + 1e-6)


class Blocks(nn.Module):
    """Class c is read off pixels 4c to 4c + 3; nothing else counts."""

    def forward(self, x):
        return 20 * x.flatten(1).unflatten(1, (4, 4)).mean(2)


def block_images(count=80):
    """Images whose own block is brighter than the others, by 0.2."""
    labels = torch.arange(count) % 4
    images = 0.4 + 0.02 * torch.rand(count, 16, generator=seeded(1))
    images += 0.2 * nn.functional.one_hot(labels, 4).repeat_interleave(4, 1)
    return images.view(count, 1, 4, 4), labels


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_target_is_reached_through_its_own_block(loss, norm):
    images, labels = block_images()
    seeds = range(6)  # numbers 3 to 8: classes 3, 0, 1, 2, 3, 0
    settings = SgdUap(target="each", loss=loss, norm=norm, iterations=20, batch_size=16, step=0.3)
    deltas = je.craft_uaps(Blocks(), images, labels, 0.15, settings, seeds, first=3)
    brightest = deltas.flatten(1).unflatten(1, (4, 4)).mean(2).argmax(1)
    assert brightest.tolist() == [3, 0, 1, 2, 3, 0]
    assert je.success_rates(Blocks(), images, labels, deltas, "each", first=3).tolist() == [1] * 6
    assert je.success_rates(Blocks(), images, labels, deltas, "each", first=4).tolist() == [0] * 6
    found = je.evaluate(Blocks(), images, labels, deltas, norm=norm)
    assert found.accuracies.tolist() == [0.25] * 6  # the target's own images are still right
    assert found.sizes == pytest.approx([0.15] * 6)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_class_wise_perturbation_turns_its_class(loss):
    images, labels = block_images()
    settings = SgdUap(target="class", loss=loss, iterations=20, batch_size=16, step=0.3)
    deltas = je.craft_uaps(Blocks(), images, labels, 0.15, settings, seeds=range(4))
    blocks = deltas.flatten(1).unflatten(1, (4, 4))
    for k in range(4):
        assert (blocks[k, k] < -0.149).all()
    assert je.success_rates(Blocks(), images, labels, deltas, "class").tolist() == [1] * 4
    (again,) = je.craft_uaps(Blocks(), images, labels, 0.15, settings, seeds=[2], first=2)
    assert torch.equal(again, deltas[2])
    with pytest.raises(ValueError, match="no image of class 2 to craft on"):
        je.craft_uaps(Blocks(), images[:2], labels[:2], 0.15, settings, seeds=range(4))


def test_success_rates_by_hand():
    class Pixels(nn.Module):
        def forward(self, x):
            return x.flatten(1) + torch.tensor([0.05, 0, 0])

    images = torch.tensor([[1.0, 0.1, 0.0], [0.5, 0.3, 0.0], [0.2, 0.9, 0.0], [0.1, 0.0, 0.6]]).view(4, 1, 1, 3)
    labels = torch.tensor([0, 0, 1, 2])
    deltas = torch.tensor([[0, 0.4, 0], [0, 0.4, 0]]).view(2, 1, 1, 3)  # the second image becomes class 1
    rates = {t: je.success_rates(Pixels(), images, labels, deltas, t).tolist() for t in ("none", "each", "class")}
    assert rates["none"] == [0.25, 0.25]
    assert rates["each"] == pytest.approx([0, 1 / 3])  # of the three of other classes than 1
    assert rates["class"] == [0.5, 0]
    assert je.success_rates(Pixels(), images, labels, 3 * deltas, "each", clip=True)[1] == pytest.approx(2 / 3)
    assert (
        je.success_rates(Pixels(), images, labels, 3 * deltas, "each")[1] == 1
    )  # the first image, too: 1.3 is more than 1.05
    assert je.success_rates(Pixels(), images[:2], labels[:2], deltas, "each").isnan().tolist() == [True, False]
    with pytest.raises(ValueError, match=r"target must be 'none', 'each' or 'class'\. Got 'all'"):
        je.success_rates(Pixels(), images, labels, deltas, "all")


def test_options_are_given_by_keyword_or_as_settings():
    by_keyword = je.craft_uaps(linear(), X, Y, eps=0.15, loss="margin", step_rule="decay", iterations=5, batch_size=8)
    settings = SgdUap(loss="margin", step_rule="decay", iterations=5, batch_size=8)
    assert torch.equal(by_keyword, je.craft_uaps(linear(), X, Y, 0.15, settings))
    assert torch.equal(by_keyword, settings(linear(), X, Y, 0.15))
    with pytest.raises(ValueError, match=r"options once\. Got SgdUap\(\.\.\.\), and loss, momentum"):
        je.craft_uaps(linear(), X, Y, 0.15, settings, loss="margin", momentum=0.5)
    with pytest.raises(ValueError, match="los\n"):
        je.craft_uaps(linear(), X, Y, 0.15, los="margin")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"loss": "hinge"}, "'cross_entropy', 'probability', 'margin' or 'members'"),
        ({"momentum": 1.5}, "less than or equal to 1"),
        ({"momentum": True}, "got True; give a number"),
        ({"inner_batches": 0}, "greater than or equal to 1"),
        (
            {"inner_batches": 9, "batch_size": 8},
            "got 9, more parts than the batch has images; give at most batch_size, 8",
        ),
        ({"norm": "l1"}, "'linf' or 'l2'"),
        ({"target": "all"}, "'none', 'each' or 'class'"),
    ],
)
def test_options_out_of_range_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        SgdUap(**option)


def test_a_run_takes_targets_but_none_of_one_class_only():
    assert Attack(target="each").recipe()["options"]["target"] == "each"
    with pytest.raises(ValueError, match=r"target: got 'class', whose .* give none or each, or call craft_uaps"):
        Attack(target="class")


def test_the_norm_goes_with_any_method(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def mine(model, images, labels, eps, seeds):\n    return 0 * images[: len(seeds)]\n")
    assert Attack(method=f"{file}:mine", norm="l2").recipe() == {
        "method": f"{file}:mine", "options": {}, "split": "train", "clip": False, "norm": "l2",
    }  # fmt: skip
    with pytest.raises(ValueError, match="loss: got margin, an option of sgd"):
        Attack(method=f"{file}:mine", loss="margin")


class Stored:
    """Images as a stage reads them."""

    def last(self, *names):
        return [tuple(t.numpy() for t in block_images(80 if name == "train" else 40)) for name in names]


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_blocks_of_a_run_go_on_with_the_targets(tmp_path, norm):
    def craft(first, last):
        path = tmp_path / f"{first}-{last}"
        cell = Cell(dataset="d", ensemble="voting", members=1, **{"lambda": 0})
        attack = Attack(target="each", norm=norm, loss="margin", iterations=10, batch_size=16).recipe()
        craft_stage(Blocks(), Stored(), path, cell=cell, eps=0.15, first=first, last=last, attack=attack, seed=0)
        return path

    parts, (deltas, bits, spec) = load_uaps([craft(0, 2), craft(3, 5)]), load_uaps([craft(0, 5)])
    assert (parts[0] == deltas).all()
    assert spec["success_rates"] == parts[2]["success_rates"] == [1] * 6
    assert spec.get("norm", "linf") == norm
    found = je.success_rates(Blocks(), *block_images(40), torch.from_numpy(deltas), "each")
    assert found.tolist() == [1] * 6
    assert bits.mean(1).tolist() == [0.25] * 6
