"""Evaluation mode: asked for by the model's own eval(), undone by its own train()."""

from contextlib import suppress

import pytest
import torch
from torch import nn

import jacobian_ensembles as je
from jacobian_ensembles.models.evaluation_mode import evaluating
from jacobian_ensembles.training.recipe import Recipe

X, Y = torch.rand(20, 1, 2, 2, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 3
NET = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).requires_grad_(False)


class Folds(nn.Module):
    """Folds its weights in eval(), as re-parametrised and averaged models do."""

    def __init__(self, net=NET):
        super().__init__()
        self.net, self.folded, self.log = net, False, []

    def train(self, mode=True):
        super().train(mode)
        self.folded = not mode
        self.log.append(mode)
        return self

    def forward(self, x):
        return self.net(x) if self.folded else self.net(x).flip(1)


@pytest.mark.parametrize("wrap", [lambda m: m, lambda m: nn.Sequential(m, nn.Identity())], ids=["itself", "inside"])
def test_eval_and_train_are_called(wrap):
    model = Folds()
    whole = wrap(model).train()
    assert je.evaluate(whole, X, Y).clean_accuracy == je.evaluate(NET, X, Y).clean_accuracy
    assert model.training
    assert not model.folded
    model.eval()
    with evaluating(model):
        assert model.folded
    assert model.folded


def test_a_mixture_of_modes_is_restored_also_after_an_error():
    model = nn.Sequential(nn.Dropout(), nn.Sequential(nn.BatchNorm2d(1), Folds(nn.Identity())), nn.Flatten())
    model.train()
    model[1].eval()
    model[1][1].train()
    before = [m.training for m in model.modules()]
    with suppress(KeyError), evaluating(model):
        assert not any(m.training for m in model.modules())
        raise KeyError
    assert [m.training for m in model.modules()] == before
    assert not model[1][1].folded


def test_a_model_that_overrides_eval_is_left_to_it():
    class AlwaysDrops(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop = nn.Dropout(0.5)

        def train(self, mode=True):
            super().train(mode)
            self.drop.train()
            return self

    model = AlwaysDrops()
    with evaluating(model):
        assert model.drop.training
        assert not model.training


def test_modules_without_modes_are_left_alone():
    class Bare(nn.Module):
        def __init__(self, net):
            super().__init__()
            self.net, self.drop = net, nn.Dropout(0.9)
            del self.training

        def forward(self, x):
            return self.net(self.drop(x))

    model = Bare(NET)
    assert je.evaluate(model, X, Y).clean_accuracy == je.evaluate(NET, X, Y).clean_accuracy
    assert model.drop.training
    assert not hasattr(model, "training")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["scripted", "traced", "frozen", "exported"])
def test_compiled_models_are_evaluated_attacked_and_measured(kind):
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).eval()
    if kind == "exported":
        batch = {"x": {0: torch.export.Dim("batch", min=2, max=1000)}}

        class Named(nn.Module):
            def forward(self, x):
                return net(x)

        module = Named()
        module.net = net
        model = torch.export.export(module, (X,), dynamic_shapes=batch).module()
    else:
        model = torch.jit.trace(net, X) if kind == "traced" else torch.jit.script(net)
        model = torch.jit.freeze(model) if kind == "frozen" else model
    expected = je.evaluate(net, X, Y)
    assert (je.evaluate(model, X, Y).predicted == expected.predicted).all()
    torch.testing.assert_close(je.craft_uaps(model, X, Y, 0.1), je.craft_uaps(net, X, Y, 0.1))
    torch.testing.assert_close(je.jacobian_norm(model, X), je.jacobian_norm(net, X))


def small():
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return model


def use_everything(model, x, y):
    deltas = je.craft_uaps(model, x, y, eps=0.1, seeds=2, iterations=3)
    recipe = Recipe(epochs=40, learning_rate=0.05, batch_size=20)
    net = je.train_ensemble(
        x, y, members=1, architecture=lambda shape, classes: small(), recipe=recipe, validation=(x, y)
    )
    return [
        deltas,
        torch.as_tensor(je.evaluate(model, x, y, deltas).correct),
        je.jacobian_norm(model, x),
        je.success_rates(model, x, y, deltas),
        *net.state_dict().values(),
    ]


@pytest.mark.parametrize("mode", ["inference", "no_grad", "float64"])
def test_torchs_global_modes_change_no_result(mode):
    x = torch.rand(120, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    y, model = torch.arange(120) % 3, small()
    x[torch.arange(120), 0, 0, y] += 1
    x = x / 2
    expected = use_everything(model, x, y)
    if mode == "float64":
        torch.set_default_dtype(torch.float64)
    try:
        with {"inference": torch.inference_mode, "no_grad": torch.no_grad}.get(mode, torch.enable_grad)():
            found = use_everything(model, x.clone(), y.clone())
            assert torch.is_inference_mode_enabled() == (mode == "inference")
            assert torch.get_default_dtype() == (torch.float64 if mode == "float64" else torch.float32)
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def test_a_model_made_in_inference_mode_is_refused_by_that_name():
    with torch.inference_mode():
        model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    with pytest.raises(ValueError, match=r"made under torch\.inference_mode"):
        je.craft_uaps(model, torch.rand(9, 1, 4, 4), torch.arange(9) % 3, eps=0.1)
