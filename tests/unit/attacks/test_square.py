"""Random search of squares: it asks for scores only, keeps what helps, and stays within eps."""

import pytest
import torch
from torch import nn

import jacobian_ensembles as je
from jacobian_ensembles.attacks.outcome import counting_steps
from jacobian_ensembles.attacks.square import Square, square_side
from jacobian_ensembles.config.schema import Attack
from jacobian_ensembles.models.lenet import LeNet

X = torch.rand(60, 2, 6, 5, generator=torch.Generator().manual_seed(0))
FEW = {"queries": 40, "batch_size": 30}


class Brightness(nn.Module):
    """Class 1 where the left half is brighter than the right one. It has no gradient, and counts its images."""

    def __init__(self):
        super().__init__()
        self.asked = 0

    def forward(self, x):
        self.asked += len(x)
        left, right = (half.mean((1, 2, 3)) for half in (x[..., :2], x[..., -2:]))
        difference = 100 * (left - right).detach()
        return torch.stack([-difference, difference], 1)


def labels_of(model):
    with torch.no_grad():
        return model(X).argmax(1)


def test_the_squares_shrink_as_in_the_authors_schedule():
    # 0.8 of 784 pixels, halved after 10, 50, 200, 500, ... of 10,000 queries: the roots of 627.2, 313.6, ..., 1.2
    queries = (0, 10, 11, 51, 201, 501, 1_001, 2_001, 4_001, 6_001, 8_001)
    sides = [square_side(query, 10_000, 0.8, 28, 28) for query in queries]
    assert sides == [25, 25, 18, 13, 9, 6, 4, 3, 2, 2, 1]
    assert square_side(11, 1_000, 0.8, 28, 28) == square_side(110, 10_000, 0.8, 28, 28)
    assert square_side(0, 10, 1.0, 28, 5) == 5


def test_it_finds_what_an_attack_by_gradients_cannot():
    model = Brightness()
    y = labels_of(model)
    with pytest.raises(ValueError, match="no"):
        je.craft_uaps(model, X, y, 0.3, iterations=5, batch_size=20, seeds=[0])
    deltas = Square(**FEW)(model, X, y, 0.3, [0, 1, 2])
    found = je.evaluate(model, X, y, deltas)
    # one direction of brightness makes one class of all: the classes' shares are what is left
    assert found.worst_accuracy <= max((y == 0).double().mean(), (y == 1).double().mean()) + 0.05
    assert found.clean_accuracy == 1.0


def test_it_asks_for_as_many_scores_as_it_says_and_takes_no_step():
    model = Brightness()
    y = labels_of(model)
    model.asked = 0
    with counting_steps() as steps:
        Square(**FEW)(model, X, y, 0.3, [0, 1])
    assert model.asked == 2 * 40 * 30 + 2 * 16  # and twice 16 to try the model out
    assert steps.total == 0


def test_every_pixel_is_at_the_bound_and_seeds_decide():
    model = Brightness()
    y = labels_of(model)
    deltas = je.craft_uaps(model, X, y, 0.2, seeds=[3, 4], attack="square", **FEW)
    assert deltas.shape == (2, 2, 6, 5)
    torch.testing.assert_close(deltas.abs(), torch.full_like(deltas, 0.2))
    assert torch.equal(deltas[1], Square(**FEW)(model, X, y, 0.2, [4])[0])
    assert not torch.equal(deltas[0], deltas[1])


def test_what_is_kept_never_lowers_the_loss():
    net = LeNet(generator=torch.Generator().manual_seed(0))
    x, y = torch.rand(20, 1, 28, 28, generator=torch.Generator().manual_seed(1)), torch.arange(20) % 10

    def loss(queries):
        (delta,) = Square(queries=queries, batch_size=20, share=0.02)(net, x, y, 0.3)
        with torch.no_grad():
            z = net(x + delta).log_softmax(1)
        own = z.gather(1, y[:, None])[:, 0]
        others = z.scatter(1, y[:, None], -torch.inf).amax(1)
        return (others - own).sigmoid().mean().item()

    # the schedule depends on the number of queries; with so small a share all squares are one to four pixels wide
    assert loss(1) < loss(30) < loss(150)


def test_clipping_is_that_of_the_attack_section():
    attack = Attack(method="square", options={"queries": 7}, clip=True)
    assert attack.recipe()["options"] == {"queries": 7, "batch_size": 500, "share": 0.8, "clip": True}
    assert (attack.kind, attack.steps, attack.family) == ("black box", 7, "")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"options": {"queries": 0}}, "options.queries: got 0"),
        ({"options": {"querries": 3}}, "did you mean 'queries'"),
        ({"options": {"clip": True}}, "say it as attack.clip"),
        ({"norm": "l2"}, "square searches within linf only"),
        ({"iterations": 7}, "an option of sgd"),
    ],
)
def test_options_it_does_not_have_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Attack(method="square", **settings)


def test_images_without_height_and_width_are_refused():
    model = nn.Linear(4, 2)
    with pytest.raises(ValueError, match="height"):
        Square()(model, torch.rand(8, 4), torch.arange(8) % 2, 0.1)


def test_what_an_attack_is_follows_from_its_settings():
    assert (Attack().kind, Attack().steps, Attack().family) == ("white box", 100, "sgd, split train")
    noise = Attack(iterations=0, init="sign")
    assert (noise.kind, noise.steps, noise.family) == ("noise", 0, "")
    staged = Attack(method="staged", seeds=5)
    assert (staged.kind, staged.steps, staged.family) == ("white box", 500, "")
    assert Attack(iterations=7).family == Attack().family != Attack(loss="margin").family
