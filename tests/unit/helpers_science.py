"""Independent oracles and synthetic data shared by the unit tests; plain PyTorch, nothing of the package's maths."""

import math

import torch
import torch.nn.functional as F

torch.set_num_threads(1)  # the tensors are tiny: on a busy machine a second thread costs more than it brings

ACTIVATIONS = {"tanh": torch.tanh, "relu": torch.relu}
#: Normalisations that reach both branches of the model's input scaling.
SCALINGS = [(0.0, 1.0), (0.25, 0.5)]


def plain_lenet(parameters, x, activation="tanh", mean=0.0, std=1.0, masks=(1.0, 1.0)):
    """The textbook network: convolution, activation, then max-pooling; ``masks`` multiply the hidden units."""
    p, act = parameters, ACTIVATIONS[activation]
    a = F.max_pool2d(act(F.conv2d((x - mean) / std, p["conv1.weight"], p["conv1.bias"], padding=2)), 2)
    a = F.max_pool2d(act(F.conv2d(a, p["conv2.weight"], p["conv2.bias"])), 2).flatten(1)
    a = act(F.linear(a, p["fc1.weight"], p["fc1.bias"])) * masks[0]
    a = act(F.linear(a, p["fc2.weight"], p["fc2.bias"])) * masks[1]
    return F.linear(a, p["fc3.weight"], p["fc3.bias"])


def plain_of(net):
    """The textbook network with the parameters of a LeNet, as a function of the input."""
    return lambda x: plain_lenet(dict(net.named_parameters()), x, net.activation, net.mean, net.std)


def jacobians(function, x):
    """Exact Jacobians (B, C, D) of a per-sample function, by torch's own routine."""
    rows = torch.autograd.functional.jacobian(lambda z: function(z).sum(0), x)
    return rows.flatten(2).transpose(0, 1)


def give_biases(net, seed=5):
    """Replace the zero biases of a fresh net: zero biases would hide a forgotten one."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in net.layers():
            layer.bias.copy_(0.3 * torch.randn(layer.bias.shape, generator=rng))
    return net


def textured(batch, seed=0, dtype=torch.float64):
    """Images without flat regions, hence without ties in any pooling window."""
    return torch.rand(batch, 1, 28, 28, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def dyadic(net, seed=3):
    """Weights in multiples of 1/16: they add up without rounding, so equal patches tie in any order of adding."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randint(-4, 5, p.shape, generator=rng).to(p.dtype) / 16)
    return net


def single_tap(net, seed=3):
    """A second convolution that copies one pixel per output: it rounds nothing, ties stay exact after tanh."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        flat = torch.zeros(16, 150, dtype=torch.float64)
        taps = torch.randint(150, (16, 1), generator=rng)
        net.conv2.weight.copy_(flat.scatter(1, taps, 1.0).view(16, 6, 5, 5))
    return net


def with_blank_background(blank):
    """Black images, or black images with a small bright square: most pooling windows are exact ties."""
    x = torch.zeros(4, 1, 28, 28, dtype=torch.float64)
    if not blank:
        x[:, :, 11:15, 9:16] = torch.randint(1, 9, (4, 1, 4, 7), generator=torch.Generator().manual_seed(0)) / 8
    return x


def directions(count, batch, seed=1, dtype=torch.float64):
    """(P, B, 10) unit vectors."""
    rng = torch.Generator().manual_seed(seed)
    v = torch.randn(count, batch, 10, generator=rng, dtype=torch.float64)
    return (v / v.norm(dim=-1, keepdim=True)).to(dtype)


def patch_corner(label):
    """Where class ``label`` has its bright 5x5 patch: a 4x3 layout."""
    row, column = divmod(label, 3)
    return 1 + 7 * row, 2 + 9 * column


def patch_dataset(count, seed=0):
    """An easy ten-class problem: a dim noisy background, and one bright patch whose place is the class."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 10
    labels = labels[torch.randperm(count, generator=rng)]
    images = 0.2 * torch.rand(count, 1, 28, 28, generator=rng)
    for i, label in enumerate(labels.tolist()):
        top, left = patch_corner(label)
        images[i, 0, top : top + 5, left : left + 5] = 0.7 + 0.3 * torch.rand(5, 5, generator=rng)
    return images, labels


def within(estimate, truth, standard_error, times=4.5):
    """Whether a Monte-Carlo estimate is as near to the truth as its standard error allows."""
    return math.isfinite(estimate) and abs(estimate - truth) <= times * standard_error


def linear_net(weights):
    """A classifier whose Jacobian is known: logits W x of images (B, D)."""
    net = torch.nn.Linear(len(weights[0]), len(weights), bias=False).double()
    with torch.no_grad():
        net.weight.copy_(torch.as_tensor(weights, dtype=torch.float64))
    return net


def slope_along(model, step, evaluate, h):
    """The central difference of a loss along a direction in parameter space."""
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            for p, d in zip(model.parameters(), step, strict=True):
                p.add_(sign * h * d)
        values.append(evaluate().item())
        with torch.no_grad():
            for p, d in zip(model.parameters(), step, strict=True):
                p.sub_(sign * h * d)
    return (values[0] - values[1]) / (2 * h)


def objectives_slopes(objective, net, batch, seed, h):
    """How an objective's loss changes along random weights: by its gradients, and by a central difference."""
    rng = torch.Generator().manual_seed(seed)
    step = [torch.randn(p.shape, generator=rng, dtype=torch.float64) for p in net.parameters()]
    _, gradients = objective.gradients(net, batch)
    analytic = sum((g * d).sum().item() for g, d in zip(gradients, step, strict=True))
    return analytic, slope_along(net, step, lambda: objective.gradients(net, batch)[0], h)
