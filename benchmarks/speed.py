"""The package against straightforward PyTorch, as ratios measured side by side in one process.

    python benchmarks/speed.py --json benchmarks/speed.json
    python benchmarks/speed.py --only M=1 training

Each row times both sides alternately, so that whatever else the machine does falls on both, and prints the median
of each and of their ratio with the range of the ratio over the repeats.
"""

import argparse
import json
import multiprocessing
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import baseline
import torch
import torchvision

from jacobian_ensembles.attacks.crafting import craft_uaps
from jacobian_ensembles.attacks.losses import loss_gradient
from jacobian_ensembles.attacks.sgd_uap import SgdUap
from jacobian_ensembles.config.schema import Training
from jacobian_ensembles.ensembles.ensemble import Ensemble
from jacobian_ensembles.evaluation.accuracy import correct, perturb
from jacobian_ensembles.extensions.references import resolve
from jacobian_ensembles.models.jacobian import unit_vectors
from jacobian_ensembles.models.lenet import LeNet
from jacobian_ensembles.runs.devices import prepare_device
from jacobian_ensembles.training.objectives.derivatives import draw_directions
from jacobian_ensembles.training.objectives.objective import Terms
from jacobian_ensembles.training.optimization import Optimizer

# multiply-adds of one image, counted twice: conv1, conv2, the three linear layers
CONV1, CONV2, LINEAR = 2 * 28 * 28 * 25 * 6, 2 * 10 * 10 * 150 * 16, 2 * (400 * 120 + 120 * 84 + 84 * 10)
FORWARD = CONV1 + CONV2 + LINEAR


class Row(NamedTuple):
    """What is timed: both sides, how often, and the floating-point operations of one call, 0 for not counted."""

    ours: Callable[[], object]
    plain: Callable[[], object]
    repeats: int
    flops: int = 0


def alternate(ours: Callable[[], object], plain: Callable[[], object], repeats: int) -> dict[str, float]:
    """Median seconds of both sides and the median, lowest and highest ratio of the repeats.

    Seconds of one thread are CPU time, so that other jobs on the core do not count. The first calls, in which memory
    grows, do not count either.
    """
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    for _ in range(3):
        ours(), plain()
    pairs = []
    for _ in range(repeats):
        pair = []
        for side in (ours, plain):
            start = clock()
            side()
            pair.append(clock() - start)
        pairs.append(pair)
    ratios = sorted(p / o for o, p in pairs)
    return {
        "ours_s": statistics.median(o for o, _ in pairs),
        "plain_s": statistics.median(p for _, p in pairs),
        "ratio": statistics.median(ratios),
        "ratio_low": ratios[0],
        "ratio_high": ratios[-1],
    }


def matrix_product_rate() -> float:
    """GFLOP/s of a 1024 x 1024 float32 matrix product."""
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    return 2 * 1024**3 / alternate(lambda: a @ b, lambda: a @ b, 15)["ours_s"] / 1e9


def our_step(
    model: Ensemble, x: torch.Tensor, labels: torch.Tensor, delta: torch.Tensor, cap: float, clip: bool
) -> torch.Tensor:
    """What one attack step computes, in the package."""
    return loss_gradient(model, perturb(x, delta, clip), labels, cap)


def attack_rows(images: torch.Tensor, labels: torch.Tensor, repeats: int) -> dict[str, Row]:
    """UAP steps, whole UAPs and evaluation."""
    rows = {}
    x, y, delta = images[:200], labels[:200], 0.1 * torch.randn(1, 28, 28)
    for members in (1, 3, 9):
        nets = [LeNet(generator=torch.Generator().manual_seed(i)).requires_grad_(False) for i in range(members)]
        plain, ours = [baseline.PlainLeNet(net) for net in nets], Ensemble(nets)
        for clip in (False, True):
            name = f"M={members}, clip {'on' if clip else 'off'}"
            step = (
                partial(our_step, ours, x, y, delta, 12.0, clip),
                partial(baseline.uap_gradient, plain, x, y, delta, 12.0, clip),
            )
            whole = (
                partial(craft_uaps, ours, images, labels, 0.15, SgdUap(clip=clip), [0]),
                partial(baseline.craft_uap, plain, images, labels, 0.15, 100, 12.0, clip),
            )
            flops = 2 * FORWARD * members * 200
            rows[f"UAP step, {name}"] = Row(*step, repeats, flops)
            rows[f"UAP of 100 steps, {name}"] = Row(*whole, max(3, repeats // 5), 100 * flops)
        evaluation = (
            partial(correct, ours, images, labels, delta[None], clip=False),
            partial(baseline.accuracy_under, plain, images, labels, delta),
        )
        name = f"evaluation, 10,000 images, M={members}"
        rows[name] = Row(*evaluation, max(3, repeats // 3), FORWARD * members * 10_000)
    return rows


def other_rows(repeats: int) -> dict[str, Row]:
    """Other networks, by automatic differentiation on both sides: whole UAPs and training steps."""
    rows = {}
    small_cnn = resolve(f"{Path(__file__).parents[1] / 'docs/examples/small_cnn.py'}:small_cnn", {})
    resnet, grey, colour = torchvision.models.resnet18, (1, 28, 28), (3, 32, 32)
    for name, net, shape, batch, steps in (
        ("small CNN, 28x28", partial(small_cnn, grey, 10), grey, 200, 100),
        ("small CNN, 32x32x3", partial(small_cnn, colour, 10), colour, 200, 100),
        ("ResNet-18, 32x32x3, batch 32", partial(resnet, num_classes=10), colour, 32, 10),
    ):
        model, images, labels = net().eval(), torch.rand(2000, *shape), torch.randint(0, 10, (2000,))
        settings = SgdUap(iterations=steps, batch_size=batch)
        whole = (
            partial(craft_uaps, model, images, labels, 0.15, settings, [0]),
            partial(baseline.craft_uap, [model], images, labels, 0.15, steps, 12.0, False, batch),
        )
        rows[f"UAP of {steps} steps, {name}"] = Row(*whole, max(3, repeats // 3))
        for lambda_jr in (0.0, 0.1):
            ours, plain, x, y = net(), net(), images[:batch], labels[:batch]
            step = (
                partial(our_step_of_training, Optimizer(ours, Training()), x, y, lambda_jr, torch.Generator()),
                partial(baseline.training_step, plain, torch.optim.Adam(plain.parameters()), x, y, lambda_jr),
            )
            term = f"{'with' if lambda_jr else 'without'} Jacobian term"
            rows[f"training step, {name}, {term}"] = Row(*step, repeats)
    return rows


def our_step_of_training(
    optimizer: Optimizer, x: torch.Tensor, labels: torch.Tensor, lambda_jr: float, rng: torch.Generator
) -> None:
    """A training step, in the package."""
    directions = draw_directions(1, len(x), 10, rng, x.device) if lambda_jr else None
    optimizer.descend(Terms(x, lambda_jr, directions), labels, 3e-3)


def our_tenth_of_an_epoch(optimizer: Optimizer, images: torch.Tensor, labels: torch.Tensor, lambda_jr: float) -> None:
    """55 training steps of 100 images, in the package."""
    rng = torch.Generator()
    for x, y in zip(images[:5500].split(100), labels[:5500].split(100), strict=True):
        our_step_of_training(optimizer, x, y, lambda_jr, rng)


def plain_tenth_of_an_epoch(
    net: baseline.PlainLeNet,
    optimizer: torch.optim.Optimizer,
    images: torch.Tensor,
    labels: torch.Tensor,
    lambda_jr: float,
) -> None:
    """The same in straightforward PyTorch."""
    for x, y in zip(images[:5500].split(100), labels[:5500].split(100), strict=True):
        baseline.training_step(net, optimizer, x, y, lambda_jr)


def training_rows(images: torch.Tensor, labels: torch.Tensor, repeats: int) -> dict[str, Row]:
    """A tenth of an epoch, 55 steps of 100 images, with and without the Jacobian term."""
    rows = {}
    for lambda_jr in (0.0, 0.1):
        plain = baseline.PlainLeNet(LeNet())
        sides = (
            partial(our_tenth_of_an_epoch, Optimizer(LeNet(), Training()), images, labels, lambda_jr),
            partial(plain_tenth_of_an_epoch, plain, torch.optim.Adam(plain.parameters()), images, labels, lambda_jr),
        )
        # forward, parameter and input gradients (none into the first layer); the regulariser's v^T J and J u besides
        flops = 3 * FORWARD - CONV1 + (4 * FORWARD if lambda_jr else 0)
        name = f"training, 1/10 epoch, {'with' if lambda_jr else 'without'} Jacobian term"
        rows[name] = Row(*sides, max(3, repeats // 3), flops * 5500)
    return rows


def _steps_per_second(kind: str, seconds: float) -> float:
    """How many steps this process makes in a second: of the attack on M = 3, or of regularised training."""
    torch.set_num_threads(1)
    prepare_device("cpu")
    torch.manual_seed(0)
    if kind == "attack":
        model = Ensemble([LeNet().requires_grad_(False) for _ in range(3)])
        x, y = torch.rand(200, 1, 28, 28), torch.randint(0, 10, (200,))
        step = partial(loss_gradient, model, x, y, 12.0)
    else:
        x, y, directions = torch.rand(100, 1, 28, 28), torch.randint(0, 10, (100,)), unit_vectors(100, 10, None)[None]
        step = partial(Optimizer(LeNet(), Training()).descend, Terms(x, 0.1, directions), y, 3e-3)

    with torch.no_grad():
        step()
        started, steps = time.perf_counter(), 0
        while time.perf_counter() < started + seconds:
            step()
            steps += 1
    return steps / (time.perf_counter() - started)


def two_jobs(kind: str, repeats: int, seconds: float = 3.0) -> dict[str, float]:
    """The throughput of two one-thread processes side by side, in units of one alone, alternating."""
    ratios = []
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.map(partial(_steps_per_second, kind), [0.1, 0.1], chunksize=1)  # both have imported torch
        for _ in range(repeats):
            alone = pool.apply(_steps_per_second, (kind, seconds))
            both = pool.map(partial(_steps_per_second, kind), [seconds, seconds], chunksize=1)
            ratios.append(sum(both) / alone)
    return {"ratio": statistics.median(ratios), "ratio_low": min(ratios), "ratio_high": max(ratios)}


def main() -> None:
    """Measure, print the table, and store it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="store the run here")
    parser.add_argument("--repeats", type=int, default=15, help="repeats of the shortest rows (default 15)")
    parser.add_argument("--only", nargs="+", metavar="TEXT", help="only the rows with one of these in their name")
    parser.add_argument("--threads", type=int, default=1, help="threads of this process (default 1)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    prepare_device("cpu")
    torch.manual_seed(0)
    images, labels = torch.rand(10_000, 1, 28, 28), torch.randint(0, 10, (10_000,))

    peak = matrix_product_rate()
    rows = attack_rows(images, labels, args.repeats) | training_rows(images, labels, args.repeats)
    rows |= other_rows(args.repeats)
    capability = torch.backends.cpu.get_cpu_capability()
    print(f"{capability}, float32 matrix product: {peak:.0f} GFLOP/s with {args.threads} thread(s)\n")
    print("| operation | plain | ours | ratio (range) | GFLOP/s | of matrix product |")
    print("|---|---:|---:|---:|---:|---:|")
    record = {}
    for name, timed in rows.items():
        if args.only and not any(text in name for text in args.only):
            continue
        row = alternate(timed.ours, timed.plain, timed.repeats)
        rate = timed.flops / row["ours_s"] / 1e9
        record[name] = {**row, "gflops": rate, "fraction_of_matrix_product": rate / peak} if timed.flops else row
        span = f"{row['ratio_low']:.1f}–{row['ratio_high']:.1f}"
        print(
            f"| {name} | {1e3 * row['plain_s']:.1f} ms | {1e3 * row['ours_s']:.1f} ms "
            f"| **{row['ratio']:.1f}** ({span}) | "
            + (f"{rate:.0f} | {rate / peak:.0%} |" if timed.flops else "– | – |")
        )
    print("\n| two jobs of one thread | throughput of one (range) |\n|---|---:|")
    concurrent = {kind: two_jobs(kind, max(3, args.repeats // 3)) for kind in ("attack", "training")}
    for kind, row in concurrent.items():
        print(f"| {kind} steps | **{row['ratio']:.2f}** ({row['ratio_low']:.2f}–{row['ratio_high']:.2f}) |")
    if args.json:
        machine = {
            "processor": _processor(),
            "platform": platform.platform(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "capability": capability,
            "threads": args.threads,
            "matrix_product_gflops": peak,
        }
        args.json.write_text(
            json.dumps({"machine": machine, "rows": record, "two_jobs": concurrent}, indent=1) + "\n", encoding="utf-8"
        )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


if __name__ == "__main__":
    main()
