import numpy as np
import torch
from helpers_science import give_biases, textured

from jacobian_ensembles.models.architecture import Architecture
from jacobian_ensembles.models.building import build_net, build_nets, parameter_arrays
from jacobian_ensembles.models.lenet import LeNet
from jacobian_ensembles.storage.learners import PARAMETER_SHAPES


def test_nets_survive_the_round_trip_through_arrays_in_order():
    options = {"activation": "relu", "dropout": 0.25}
    architecture = Architecture(options=options, mean=0.1307, std=0.3081)
    nets = [give_biases(build_net(architecture, generator=torch.Generator().manual_seed(m)), seed=m) for m in range(3)]
    arrays = parameter_arrays(nets)
    assert {name: value.shape for name, value in arrays.items()} == {
        name: (3, *shape) for name, shape in PARAMETER_SHAPES.items()
    }
    assert {value.dtype for value in arrays.values()} == {np.dtype("float32")}
    rebuilt = build_nets(arrays, architecture)
    assert len(rebuilt) == 3
    x = textured(4, dtype=torch.float32)
    for before, after in zip(nets, rebuilt, strict=True):
        assert torch.equal(before.requires_grad_(False)(x), after(x))
        assert (after.activation, after.dropout, after.mean, after.std) == ("relu", 0.25, 0.1307, 0.3081)
        assert not any(p.requires_grad for p in after.parameters())


def test_stacked_arrays_do_not_share_memory_with_the_nets():
    net = LeNet()
    arrays = parameter_arrays([net])
    (rebuilt,) = build_nets(arrays, Architecture())
    before = arrays["fc3.bias"].copy()
    with torch.no_grad():
        net.fc3.bias.add_(1)
        rebuilt.fc3.bias.add_(2)
    np.testing.assert_array_equal(arrays["fc3.bias"], before)
