"""What a bound gains by knowing that one perturbation must serve all images.

    python benchmarks/universal_bound.py MODEL mnist

The box of perturbations is halved along some pixels, those with the largest mean gradient of the margin. Accuracy under
a universal perturbation is at least the smallest certified accuracy of a part; a bound per image counts an image as
lost if any part loses it. By intervals, without rounding, on 1,000 test images.
"""

import argparse
from itertools import product

import torch

import jacobian_ensembles as je
from jacobian_ensembles.models.intervals import layers_of, margin_bounds


def main() -> None:
    """Print the bound of each radius, for more and more parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="file of a stored ensemble of one learner")
    parser.add_argument("dataset", choices=["mnist", "fashion_mnist"])
    parser.add_argument("--eps", type=float, nargs="+", default=[0.1, 0.15, 0.2, 0.25])
    parser.add_argument("--pixels", type=int, nargs="+", default=[0, 4, 8])
    args = parser.parse_args()
    (net,) = je.load_ensemble(args.model).members
    images, labels = (part[:1000] for part in je.load_dataset(args.dataset).test)
    layers = layers_of(net)
    x = images.clone().requires_grad_(True)
    logits = net(x)
    rivals = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
    (gradient,) = torch.autograd.grad((logits.gather(1, labels[:, None])[:, 0] - rivals).sum(), x)
    strongest = gradient.mean(0).flatten().abs().argsort(descending=True)
    for eps in args.eps:
        shares = []
        for count in args.pixels:
            radius = torch.full((784,), eps)
            radius[strongest[:count]] /= 2
            least = 1.0
            for signs in product((-1, 1), repeat=count):
                centre = torch.zeros(784)
                centre[strongest[:count]] = torch.tensor(signs, dtype=torch.float32) * eps / 2
                with torch.no_grad():
                    low = margin_bounds(layers, images + centre.view(1, 28, 28), radius.view(1, 1, 28, 28), labels).low
                low[torch.arange(len(labels)), labels] = torch.inf
                least = min(least, (low > 0).all(1).float().mean().item())
            shares.append(f"{2**count} parts {100 * least:.1f} %")
        print(f"eps {eps:g}: {', '.join(shares)}", flush=True)


if __name__ == "__main__":
    main()
