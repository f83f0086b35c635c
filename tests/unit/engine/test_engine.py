"""The compiled loops against float64 automatic differentiation of the textbook network, and by hand."""

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from helpers_science import (
    ACTIVATIONS,
    SCALINGS,
    directions,
    dyadic,
    give_biases,
    jacobians,
    plain_of,
    single_tap,
    textured,
    with_blank_background,
)

from jacobian_ensembles.attacks.losses import loss_gradient
from jacobian_ensembles.ensembles.ensemble import Ensemble
from jacobian_ensembles.models import lenet
from jacobian_ensembles.models.jacobian import logit_jacobian
from jacobian_ensembles.models.lenet import LeNet, compiled
from jacobian_ensembles.training.objectives.derivatives import loss_and_gradients

kernels = pytest.importorskip("jacobian_ensembles.models.kernels", reason="numba is missing", exc_type=ImportError)


def make(activation="tanh", scaling=(0.0, 1.0), **options):
    return give_biases(LeNet(activation, 0.0, *scaling, generator=torch.Generator().manual_seed(0), **options))


def double(net):
    """The same network in float64, where nothing is compiled."""
    twin = LeNet(net.activation, net.dropout, net.mean, net.std, net.fc3.out_features).double()
    twin.load_state_dict(net.state_dict())
    return twin


def images(batch, seed=0):
    return textured(batch, seed, torch.float32)


def vectors(batch, classes=10, seed=2):
    return torch.randn(batch, classes, generator=torch.Generator().manual_seed(seed))


def close(ours, expected, tolerance=3e-6):
    """Equal to float32's rounding, by the largest entry: sums of many terms cancel."""
    assert ours.dtype == torch.float32
    assert ours.shape == expected.shape
    error = (ours.double() - expected).abs().max() / expected.abs().max().clamp(min=1e-30)
    assert error < tolerance


def lenet_ensemble(count):
    return Ensemble([LeNet(generator=torch.Generator().manual_seed(m)).requires_grad_(False) for m in range(count)])


def test_tanh_is_exact_to_float32_and_passes_on_nan():
    z = np.concatenate([np.linspace(-12, 12, 100_001), [0.0, 1e-8, -1e-30, np.inf, -np.inf]]).astype(np.float32)
    got = z.copy()
    kernels._activate(got, False)
    np.testing.assert_allclose(got, np.tanh(z.astype(np.float64)), rtol=5e-7, atol=0)
    assert np.abs(got).max() <= 1
    for relu in (True, False):
        nan = np.full(3, np.nan, np.float32)
        kernels._activate(nan, relu)
        assert np.isnan(nan).all()


def test_a_product_by_hand():
    x = np.tile(np.array([[1.0], [2.0], [3.0], [4.0]], np.float32), kernels.LANES)  # four inputs, alike in all images
    out = np.ones((84, kernels.LANES), np.float32)
    weight = np.arange(4 * 84, dtype=np.float32).reshape(4, 84)
    kernels._down5(weight.ravel(), x.ravel(), out.reshape(-1))
    np.testing.assert_array_equal(out, np.broadcast_to((1 + weight.T @ [1, 2, 3, 4])[:, None], out.shape))


def test_an_impulse_through_the_first_layer_is_its_kernel_and_the_first_of_equals_wins():
    lanes = kernels.LANES
    plane, weight = np.zeros((32, 32, lanes), np.float32), np.zeros((6, 25), np.float32)
    plane[2 + 10, 2 + 10] = np.arange(1, lanes + 1)  # image i is i + 1 at pixel (10, 10)
    weight[0, 12], weight[1] = 2.0, 1.0  # the first channel copies, twice as bright; the second adds up 5x5 pixels
    bias = np.array([0.5, -1.0, 0, 0, 0, 0], np.float32)
    out, won = np.empty((6, 14, 14, lanes), np.float32), np.empty((6, 14, 14, lanes), np.float32)
    kernels._layer1(plane.ravel(), weight.ravel(), bias, out.reshape(-1), won.reshape(-1), False)
    expected = np.full((14, 14, lanes), 0.5, np.float32)
    expected[5, 5] += 2 * np.arange(1, lanes + 1)
    np.testing.assert_array_equal(out[0], expected)
    assert not won[0].any()
    lit = np.zeros((14, 14), bool)
    lit[4:7, 4:7] = True
    np.testing.assert_array_equal(out[1, ..., 0], np.where(lit, 0.0, -1.0))
    # the impulse reaches rows and columns 8 to 12: all four pixels of windows 4 and 5, the first only of window 6
    assert not won[1].any()


@pytest.mark.parametrize("batch", [1, 31, 32, 33, 41, 200, 224])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_logits_and_products_with_the_jacobian_at_any_batch_size(activation, batch):
    net, x, v = make(activation, SCALINGS[1]), images(batch), vectors(batch)
    z = x.double().requires_grad_(True)
    logits = plain_of(double(net))(z)
    (vj,) = torch.autograd.grad((logits * v).sum(), z)
    at = net.linearize(x)
    close(at.logits, logits)
    close(at.vjp(v), vj)
    close(at.vjp_sum(v), vj.sum(0))


@pytest.mark.parametrize("classes", [2, 7, 10, 12])
def test_any_number_of_classes(classes):
    net, x, labels = make(classes=classes), images(5), torch.arange(5) % classes
    v = vectors(5, classes)
    assert net(x).shape == (5, classes)
    close(
        net.linearize(x).vjp(v), torch.einsum("bc,bcd->bd", v.double(), jacobians(double(net), x.double())).view_as(x)
    )
    ours, theirs = (
        loss_and_gradients(n, z, labels, 0.3, v[None].to(z)) for n, z in ((net, x), (double(net), x.double()))
    )
    for a, b in zip(ours[1], theirs[1], strict=True):
        close(a, b)


def test_the_logit_jacobian_is_the_exact_one():
    net, x = make(), images(3)
    close(logit_jacobian(net, x), jacobians(double(net), x.double()))


@pytest.mark.parametrize("batch", [6, 50])
@pytest.mark.parametrize("projections", [0, 1, 3])
@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_training_gradients_equal_double_backward_in_float64(activation, scaling, projections, batch):
    net, x, labels, lam = make(activation, scaling), images(batch), torch.arange(batch) % 10, 0.5 * bool(projections)
    v = directions(projections, batch) if projections else None
    value, ours = loss_and_gradients(net, x, labels, lam, None if v is None else v.float())
    expected, theirs = loss_and_gradients(double(net), x.double(), labels, lam, v)
    assert value.item() == pytest.approx(expected.item(), rel=1e-6)
    for a, b in zip(ours, theirs, strict=True):
        close(a, b)


@pytest.mark.parametrize("lam", [0.0, 0.4])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_dropout_draws_the_textbook_networks_masks(activation, lam):
    net, x, labels = make(activation), images(37), torch.arange(37) % 10
    net.dropout, v = 0.4, directions(2, 37)
    twin = double(net)
    value, ours = loss_and_gradients(net, x, labels, lam, v.float(), torch.Generator().manual_seed(1))
    expected, theirs = loss_and_gradients(twin, x.double(), labels, lam, v, torch.Generator().manual_seed(1))
    assert value.item() == pytest.approx(expected.item(), rel=1e-6)
    assert abs(value - loss_and_gradients(net, x, labels, lam, v.float())[0]) > 1e-3
    for a, b in zip(ours, theirs, strict=True):
        close(a, b)


@pytest.mark.parametrize("blank", [True, False], ids=["black", "square"])
@pytest.mark.parametrize("net", [dyadic(make("relu")), single_tap(make())], ids=["dyadic-relu", "tap-tanh"])
def test_ties_in_pooling_are_won_by_the_first_pixel_as_in_max_pool2d(net, blank):
    x, v = with_blank_background(blank).float(), vectors(4)
    exact = torch.einsum("bc,bcd->bd", v.double(), jacobians(double(net), x.double())).view_as(x)
    assert exact.abs().amax((1, 2, 3)).min() > 0  # else nothing would be compared
    close(net.linearize(x).vjp(v), exact)
    close(net.linearize(x).vjp_sum(v), exact.sum(0))


@pytest.mark.parametrize("scaling", [(0.0, 1.0), (0.13, 0.31)])
@pytest.mark.parametrize("seed", range(3))
def test_equal_patches_tie_although_their_sums_are_rounded(scaling, seed):
    rng = torch.Generator().manual_seed(seed)
    net = give_biases(LeNet("tanh", 0.0, *scaling, generator=rng), seed)
    x = torch.zeros(4, 1, 28, 28)
    x[1:, :, 6:20, 9:15] = torch.rand(3, 1, 14, 6, generator=rng)
    lanes, one = kernels.LANES, lambda z: z.detach().flatten().numpy()
    won = net.linearize(x).state[1]
    won = won[0].reshape(6, 14, 14, lanes)
    # windows in the border see padding, those in the square its texture; in between all four pixels see one colour
    assert not won[:, 1:13, 1:13, 0].any()
    assert won[:, 3:10, 4:8, 1].any()
    out = np.empty_like(won)
    flat = np.zeros((32, 32, lanes), np.float32) + np.float32(0.3)
    kernels._layer1(flat.ravel(), one(net.conv1.weight), one(net.conv1.bias), out.reshape(-1), won.reshape(-1), False)
    assert not won.any()


def test_a_group_has_the_same_bytes_alone_and_among_others():
    model = lenet_ensemble(3)
    x, labels = images(120), torch.arange(120) % 10
    together = loss_gradient(model, x, labels, 12.0, groups=3)
    alone = [loss_gradient(model, x[g : g + 40], labels[g : g + 40], 12.0) for g in (0, 40, 80)]
    assert torch.equal(together, torch.cat(alone))


@pytest.mark.parametrize("average", ["logits", "probabilities"])
@pytest.mark.parametrize("members", [1, 3])
def test_the_attacks_gradient_with_a_cap_that_binds(members, average):
    nets = lenet_ensemble(members).members
    for net in nets:
        net.fc3.weight.mul_(4.0)
    x, labels = images(24), torch.arange(24) % 10
    twin = Ensemble([double(net).requires_grad_(False) for net in nets], average)
    losses = -twin(x.double())[range(24), labels]
    cap = losses.sort().values[11:13].mean().item()
    got = loss_gradient(Ensemble(nets, average), x, labels, cap, 2)
    close(got, loss_gradient(twin, x.double(), labels, cap, 2), 1e-5)


def test_equal_inputs_give_equal_bytes_and_results_do_not_alias():
    net, x, labels, v = make(), images(50), torch.arange(50) % 10, directions(1, 50, dtype=torch.float32)
    first = loss_and_gradients(net, x, labels, 0.1, v)[1]
    kept = [g.clone() for g in first]
    at, other = net.linearize(x), net.linearize(images(50, seed=9))
    assert not torch.equal(at.logits, other.logits)
    torch.testing.assert_close(at.logits, net.linearize(x).logits, rtol=0, atol=0)
    again = loss_and_gradients(net, x, labels, 0.1, v)[1]
    assert all(torch.equal(a, b) and torch.equal(a, c) for a, b, c in zip(first, kept, again, strict=True))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_numbers_that_are_none_reach_the_loss_and_crash_nothing(activation, bad):
    net, x = make(activation), images(34)
    x[3, 0, 5, 5] = bad
    logits = net.linearize(x).logits
    assert logits[:3].isfinite().all()
    assert logits[4:].isfinite().all()
    with torch.no_grad():
        net.conv2.weight[0, 0, 0, 0] = float("nan")
    value, gradients = loss_and_gradients(net, x, torch.arange(34) % 10, 0.1, directions(1, 34, dtype=torch.float32))
    assert not value.isfinite()
    assert not all(g.isfinite().all() for g in gradients)


def test_which_networks_are_compiled():
    net, x = make(), images(1)
    assert compiled(net, x)
    assert not compiled(net, x.double())
    assert not compiled(double(net), x)
    assert not compiled(torch.nn.Flatten(), x)
    assert not compiled(net, x.to("meta"))


def test_forward_is_compiled_where_no_gradient_is_wanted_and_differentiable_elsewhere(monkeypatch):
    net, x = make().requires_grad_(False), images(3)
    textbook = plain_of(net)(x)
    calls = []
    forward = kernels.forward
    monkeypatch.setattr(lenet._kernels(), "forward", lambda *args: calls.append(1) or forward(*args))
    torch.testing.assert_close(net(x), textbook, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        net(x.clone().requires_grad_(True))
    with torch.inference_mode():
        net(x)
    assert len(calls) == 3
    assert net(x.clone().requires_grad_(True)).requires_grad
    assert net.requires_grad_(True)(x).requires_grad
    assert len(calls) == 3


def run(code, **environment):
    process = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, env={**os.environ, **environment}
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_without_numba_the_textbook_network_serves_and_one_line_says_so():
    out = run(
        """
        import sys, logging, torch
        sys.modules["numba"] = None
        logging.basicConfig(stream=sys.stdout, format="%(message)s")
        from jacobian_ensembles.ensembles.ensemble import Ensemble
        from jacobian_ensembles.models.jacobian import logit_jacobian
        from jacobian_ensembles.training.objectives.derivatives import loss_and_gradients
        from jacobian_ensembles.models.lenet import LeNet, compiled
        from jacobian_ensembles.attacks.losses import loss_gradient
        net, x, y = LeNet(dropout=0.2), torch.rand(2, 1, 28, 28), torch.tensor([3, 4])
        assert not compiled(net, x)
        directions = torch.ones(1, 2, 10) / 10**0.5
        loss_and_gradients(net, x, y, 0.1, directions, torch.Generator())
        assert logit_jacobian(net, x).shape == (2, 10, 784)
        assert loss_gradient(Ensemble([net]), x, y, 12.0).shape == (1, 1, 28, 28)
        """
    )
    assert out.count("\n") == 1
    assert "LeNets run through torch's layers" in out


def test_the_loops_mean_the_same_to_python():
    out = run(
        """
        import numpy as np
        from jacobian_ensembles.models import kernels
        lanes, rng = kernels.LANES, np.random.default_rng(0)
        draw = lambda *shape: rng.standard_normal(shape).astype(np.float32)
        q, a = draw(6 * lanes), draw(6 * lanes)
        kernels._through(q, a, q[:0], q[:0], False, q)
        p, won, pixels = draw(25, lanes), rng.integers(4, size=(25, lanes)).astype(np.float32), np.empty((25, 4, lanes))
        kernels._unpool(p.ravel(), won.ravel(), pixels.reshape(-1))
        assert (pixels.sum(1) == p).all() and (pixels.argmax(1)[p > 0] == won[p > 0]).all()
        x, weight, out = draw(6, lanes), draw(4, 120), np.zeros((4, lanes), np.float32)
        kernels._up4(weight.ravel(), x.ravel(), out.reshape(-1))
        assert np.allclose(out, weight[:, :6] @ x, rtol=1e-4, atol=1e-5)
        print(lanes)
        """,
        NUMBA_DISABLE_JIT="1",
    )
    assert int(out) == kernels.LANES


@pytest.mark.skipif(not kernels._WIDE, reason="no AVX-512")
def test_whole_registers_are_used_on_intels_processors_too():
    out = run(
        """
        import llvmlite.binding
        llvmlite.binding.get_host_cpu_name = lambda: "sapphirerapids"
        import numpy as np
        from numba import njit
        import jacobian_ensembles.models.kernels

        @njit
        def add(a, b):
            for i in range(len(a)):
                a[i] += b[i]

        add(np.zeros(64, np.float32), np.ones(64, np.float32))
        print("zmm" in next(iter(add.inspect_asm().values())))
        """
    )
    assert out == "True\n"


def test_jobs_that_classify_nothing_do_not_import_numba():
    out = run("import sys, jacobian_ensembles.models.lenet; print('numba' in sys.modules, 'llvmlite' in sys.modules)")
    assert out.split() == ["False", "False"]


def test_compiled_code_is_kept_where_the_user_says_and_jobs_may_start_together_on_none(tmp_path):
    code = """
        import torch
        from jacobian_ensembles.models.lenet import LeNet
        net = LeNet(generator=torch.Generator().manual_seed(0)).requires_grad_(False)
        print(net(torch.full((3, 1, 28, 28), 0.5)).tolist())
        """
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    jobs = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [job.communicate()[0] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0]
    assert len(set(outputs)) == 1
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nbc")}
    assert kept
    assert run(code, NUMBA_CACHE_DIR=str(tmp_path)) == outputs[0]
    assert kept == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nbc")}  # not compiled again


def test_where_compiled_code_can_be_kept_nowhere_it_is_compiled_all_the_same():
    code = "from jacobian_ensembles.models import kernels; print(type(kernels.forward._cache).__name__)"
    assert run(code, NUMBA_CACHE_LOCATOR_CLASSES="UserProvidedCacheLocator", NUMBA_CACHE_DIR="").strip() == "NullCache"


def compiled_functions(found, names):
    """Every function that numba compiles among some objects and what they close over."""
    for item in found:
        function = getattr(item, "py_func", None)
        if function is not None and function not in names:
            names[function] = f"{function.__module__}.{function.__qualname__}"
            compiled_functions([cell.cell_contents for cell in function.__closure__ or ()], names)
    return names


def test_no_two_compiled_functions_share_a_name_by_which_kept_code_of_several_processes_is_linked():
    names = compiled_functions(vars(kernels).values(), {})
    assert len(names) > 30
    assert sorted(names.values()) == sorted(set(names.values()))


@pytest.mark.faults
def test_code_that_one_process_kept_and_another_added_to_computes_the_same(tmp_path):
    step = """
        import sys, torch
        from jacobian_ensembles.models.lenet import LeNet
        from jacobian_ensembles.training.objectives.derivatives import loss_and_gradients
        generator = torch.Generator().manual_seed(0)
        net = LeNet(generator=generator)
        x, labels = torch.rand(50, 1, 28, 28, generator=generator), torch.arange(50) % 10
        v = torch.nn.functional.normalize(torch.randn(1, 50, 10, generator=generator), dim=2)
        for strength in {strengths}:
            loss, gradients = loss_and_gradients(net, x, labels, strength, v if strength else None)
        print(float(loss), [g.double().abs().sum().item() for g in gradients])
        """
    shared = {"NUMBA_CACHE_DIR": str(tmp_path / "shared")}
    run(step.format(strengths="(0.0,)"), **shared)  # keeps two of the three loops that the next one needs
    second = run(step.format(strengths="(0.1,)"), **shared)
    third = run(step.format(strengths="(0.1,)"), **shared)  # which has all of them kept
    assert second == third == run(step.format(strengths="(0.1,)"))
