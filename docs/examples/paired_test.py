"""Do two models of Table 1 differ under their worst perturbations? An exact McNemar test on their images."""

from scipy.stats import binomtest

import jacobian_ensembles as je

ONE, OTHER = "table1/mnist/snapshot/M3/lambda0.50", "table1/mnist/snapshot/M9/lambda0.50"


def compare(one: str, other: str, eps: float) -> str:
    """What only one of two models gets right, and how likely such a difference is by chance."""
    a, b = je.load_correct(one, eps), je.load_correct(other, eps)  # (N,) booleans, of the same test images
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    p = binomtest(only_a, only_a + only_b).pvalue
    return (
        f"eps {eps:.2f}: {a.mean():.2%} and {b.mean():.2%}; only the one: {only_a}, only the other: {only_b}; p {p:.1e}"
    )


if __name__ == "__main__":
    for eps in (0.10, 0.15, 0.20, 0.25):
        print(compare(ONE, OTHER, eps))
