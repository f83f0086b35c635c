import pytest
import torch
import torch.nn.functional as F

from jacobian_ensembles.models.convolutions import (
    MaxPool,
    as_windows,
    input_gradient,
    input_gradient_by_blocks,
    kernel_gradient,
    phase_kernel,
    phase_kernel_adjoint,
    winner_indices,
)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_folded_convolution_has_each_windows_pixels_as_channels(channels):
    x, weight = draw(3, channels, 28, 28), draw(6, channels, 5, 5, seed=1)
    folded = F.conv2d(F.pixel_unshuffle(x, 2), phase_kernel(weight), padding=1).unflatten(1, (4, 6))
    torch.testing.assert_close(folded, as_windows(F.conv2d(x, weight, padding=2)), rtol=1e-12, atol=1e-12)


def test_folding_a_gradient_back_is_the_adjoint_of_folding_the_kernel():
    weight, grad = draw(6, 1, 5, 5), draw(24, 4, 3, 3, seed=1)
    torch.testing.assert_close((phase_kernel(weight) * grad).sum(), (weight * phase_kernel_adjoint(grad)).sum())


def test_windows_hold_their_pixels_row_by_row():
    z = torch.arange(16.0).view(1, 1, 4, 4)
    assert as_windows(z)[0, :, 0, 1, 0].tolist() == [8, 9, 12, 13]


@pytest.mark.parametrize("capability", ["AVX512", "AVX2", "DEFAULT"])
@pytest.mark.parametrize("padding", [0, 2])
def test_the_input_gradient_is_autograds_on_every_cpu(monkeypatch, capability, padding):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    x, weight = draw(3, 6, 14, 14).requires_grad_(True), draw(16, 6, 5, 5, seed=1)
    out = F.conv2d(x, weight, padding=padding)
    grad = draw(*out.shape, seed=2)
    (expected,) = torch.autograd.grad(out, x, grad)
    torch.testing.assert_close(input_gradient(grad, weight, padding), expected, rtol=1e-12, atol=1e-12)


def test_the_input_gradient_by_blocks_is_autograds():
    x, kernel = draw(3, 4, 14, 14).requires_grad_(True), draw(24, 4, 3, 3, seed=1)
    out = F.conv2d(x, kernel, padding=1)
    grad = draw(*out.shape, seed=2)
    (expected,) = torch.autograd.grad(out, x, grad)
    torch.testing.assert_close(input_gradient_by_blocks(grad, kernel), expected, rtol=1e-12, atol=1e-12)


def test_the_kernel_gradient_is_autograds():
    x, kernel = draw(3, 6, 14, 14), draw(16, 6, 5, 5, seed=1).requires_grad_(True)
    out = F.conv2d(x, kernel)
    grad = draw(*out.shape, seed=2)
    (expected,) = torch.autograd.grad(out, kernel, grad)
    torch.testing.assert_close(kernel_gradient(grad, x, kernel.shape, padding=0), expected, rtol=1e-12, atol=1e-12)


def test_pooling_passes_on_the_maximum_and_its_gradient_to_the_pixel_it_came_from():
    z = draw(3, 5, 10, 8)
    z[0, 0, :2, :2] = 1.0  # a tie: the first pixel wins, as in max_pool2d
    z.requires_grad_(True)
    pooled, indices = F.max_pool2d(z, 2, return_indices=True)
    ours, won = MaxPool.apply(as_windows(z))
    assert torch.equal(ours, pooled)
    assert torch.equal(winner_indices(won), indices.flatten(2))
    assert torch.equal(won.sum(1), torch.ones_like(pooled))
    grad = draw(*pooled.shape, seed=1)
    assert torch.equal(*(torch.autograd.grad(out, z, grad)[0] for out in (ours, pooled)))
