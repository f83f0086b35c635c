"""One object per attack: what a function or class of a user's becomes, and the checks that all attacks meet."""

import pytest
import torch
from pydantic import ValidationError
from torch import nn

import jacobian_ensembles as je
from jacobian_ensembles.attacks.attack import FunctionAttack, UniversalAttack, load_attack
from jacobian_ensembles.attacks.losses import loss_gradient
from jacobian_ensembles.attacks.registry import ATTACKS
from jacobian_ensembles.attacks.sgd_uap import SgdUap
from jacobian_ensembles.attacks.staged import Staged
from jacobian_ensembles.config.attack import Attack
from jacobian_ensembles.extensions.references import ExtensionError
from jacobian_ensembles.stages.measure_transfer import _worst_of

X, Y = torch.rand(20, 1, 3, 3, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 2
torch.manual_seed(0)
NET = nn.Sequential(nn.Flatten(), nn.Linear(9, 2)).requires_grad_(False)


def constant(model, images, labels, eps, seeds, size=1.0):
    """Perturbations of size ``size * eps``."""
    return torch.full((len(seeds), *images.shape[1:]), size * eps)


class Constant(UniversalAttack):
    """The same as a class."""

    size: float = 1.0
    clip: bool = False

    def craft(self, model, images, labels, eps, seeds, **_):
        return constant(model, images, labels, eps, seeds, self.size)


def idle(model, images, labels, eps, seeds):
    loss_gradient(nn.Sequential(NET, nn.Threshold(1e9, 0.0)), images, labels, None)
    return constant(model, images, labels, eps, seeds)


@pytest.mark.parametrize("attack", [constant, Constant])
def test_a_users_function_and_class_are_called_alike(attack):
    assert torch.equal(je.craft_uaps(NET, X, Y, 0.1, attack, range(2), size=0.5), torch.full((2, 1, 3, 3), 0.05))
    with pytest.raises(ValueError, match=r"of size 0\.2, where eps is 0\.1"):
        je.craft_uaps(NET, X, Y, 0.1, attack, size=2.0)
    refused = {r"in \[0, 1\]": (X + 1, Y, 0.1), "eps must lie": (X, Y, 0), "labels": (X, Y + 1, 0.1)}
    for message, arguments in refused.items():
        with pytest.raises(ValueError, match=message):
            je.craft_uaps(NET, *arguments, attack)
    with pytest.raises(ValueError, match="at least one attack seed"):
        je.craft_uaps(NET, X, Y, 0.1, attack, [])


def test_an_attack_of_the_users_without_a_gradient_is_refused_by_name():
    with pytest.raises(ValueError, match=r"idle: none of 1 steps had a finite gradient"):
        je.craft_uaps(NET, X, Y, 0.1, idle)


def test_what_a_reference_or_a_name_becomes(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def f(model, images, labels, eps, seeds): ...\n\n\nclass C: ...\n")
    loaded = load_attack(f"{file}:f", {"a": 1}, "l2")
    assert isinstance(loaded, FunctionAttack)
    assert (loaded.title, loaded.options, loaded.norm) == (f"{file}:f", {"a": 1}, "l2")
    assert (loaded.kind, loaded.steps, loaded.family) == ("white box", None, ())
    with pytest.raises(ExtensionError, match="C is a class that does not derive from UniversalAttack"):
        load_attack(f"{file}:C", {})
    assert load_attack("staged", {"budget": 3}, "l2", True) == Staged(budget=3, norm="l2", clip=True)
    assert load_attack(Constant, {}, clip=True).clip
    with pytest.raises(ValueError, match="norm: got 'l2'; Constant searches within linf only"):
        load_attack(Constant, {}, "l2")
    with pytest.raises(ValidationError, match="sizes"):
        load_attack(Constant, {"sizes": 1})


def test_a_run_says_what_a_users_class_is(tmp_path):
    file = tmp_path / "blind.py"
    file.write_text(
        "from jacobian_ensembles.attacks.attack import UniversalAttack\n\n\nclass Blind(UniversalAttack):\n"
        "    queries: int = 5\n    kind = property(lambda self: 'black box')\n"
        "    steps = property(lambda self: self.queries)\n"
    )
    attack = Attack(method=f"{file}:Blind", options={"queries": 7}, seeds=3)
    assert (attack.kind, attack.steps, attack.family, attack.perturbations) == ("black box", 7, "", 3)
    assert attack.recipe()["options"] == {"queries": 7}


@pytest.mark.parametrize("name", ATTACKS)
def test_every_built_in_attack_says_what_it_is(name):
    attack = load_attack(name, {})
    assert isinstance(attack, UniversalAttack)
    assert attack.kind in ("white box", "black box")
    assert attack.steps > 0
    assert set(attack.said_by_a_run()) <= set(type(attack).model_fields)
    assert set(attack.said_by_a_run().values()) <= set(Attack.model_fields)
    assert Attack(method=name).recipe()["options"] == Attack(method=name).load().model_dump()


def test_perturbations_of_single_learners_meet_the_same_checks(tmp_path):
    file = tmp_path / "cheat.py"
    file.write_text(
        "def cheat(model, images, labels, eps, seeds, by):\n    return images[: len(seeds)] * 0 + by * eps\n"
    )
    attack = {"method": f"{file}:cheat", "options": {"by": 1}, "clip": False}
    assert torch.equal(_worst_of(NET, (X, Y), (X, Y), 0.1, [0, 1], attack), torch.full((1, 3, 3), 0.1))
    with pytest.raises(ValueError, match=r"of size 0\.3, where eps is 0\.1"):
        _worst_of(NET, (X, Y), (X, Y), 0.1, [0, 1], attack | {"options": {"by": 3}})


def test_an_attack_is_called_as_it_is_named():
    by_name = je.craft_uaps(NET, X, Y, 0.1, iterations=3, batch_size=5, seeds=[2])
    assert torch.equal(by_name, SgdUap(iterations=3, batch_size=5)(NET, X, Y, 0.1, [2]))
