"""Where a regularised training step spends its time, operator by operator.

    python benchmarks/profile_step.py

Each operator is timed as torch dispatches it, over 200 steps of 100 images with one thread. The lower quartile of
its times is printed, which other jobs on the machine disturb little; operators of the same name and shapes share a row.
"""

import argparse
import time
from collections import defaultdict
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from jacobian_ensembles.experiment.config import Training
from jacobian_ensembles.experiment.devices import prepare_device
from jacobian_ensembles.models.jacobian import unit_vectors
from jacobian_ensembles.models.lenet import LeNet
from jacobian_ensembles.training.learner import apply_gradients, make_optimizer
from jacobian_ensembles.training.objectives import loss_and_gradients


class Stopwatch(TorchDispatchMode):
    """Times every operator that runs inside it."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: dict[tuple[str, str], list[float]] = defaultdict(list)

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Run one operator and note its time."""
        start = time.perf_counter()
        result = func(*args, **(kwargs or {}))
        spent = time.perf_counter() - start
        shapes = " ".join("×".join(map(str, a.shape)) for a in args if isinstance(a, torch.Tensor) and a.dim())
        self.seconds[str(func.overloadpacket).removeprefix("aten."), shapes].append(spent)
        return result


def main() -> None:
    """Profile and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20, help="operators to print (default 20)")
    parser.add_argument("--steps", type=int, default=200, help="steps to time (default 200)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    prepare_device("cpu")
    torch.manual_seed(0)
    images, labels, rng = torch.rand(5000, 1, 28, 28), torch.randint(0, 10, (5000,)), torch.Generator()
    net = LeNet()
    optimizer = make_optimizer(net, Training())

    def step(i: int) -> None:
        part = slice(100 * (i % 50), 100 * (i % 50) + 100)
        directions = unit_vectors(100, 10, rng)[None]
        apply_gradients(optimizer, loss_and_gradients(net, images[part], labels[part], 0.1, directions)[1])

    spent = []
    for i in range(args.steps):
        start = time.process_time()
        step(i)
        spent.append(time.process_time() - start)
    with Stopwatch() as watch:
        for i in range(args.steps):
            step(i)

    def quartile(times: list[float]) -> float:
        return sorted(times)[len(times) // 4]

    rows = []
    for (name, shapes), times in watch.seconds.items():
        count = len(times) / args.steps
        rows.append((1e3 * quartile(times) * count, count, name, shapes))
    rows.sort(reverse=True)
    total = sum(row[0] for row in rows)
    print("| operator | shapes | per step | ms | share |\n|---|---|---:|---:|---:|")
    for ms, count, name, shapes in rows[: args.rows]:
        print(f"| {name} | {shapes} | {count:.0f} | {ms:.2f} | {ms / total:.0%} |")
    rest = sum(row[0] for row in rows[args.rows :])
    print(f"| the rest | | {sum(row[1] for row in rows[args.rows :]):.0f} | {rest:.2f} | {rest / total:.0%} |")
    print(f"| **all operators** | | {sum(row[1] for row in rows):.0f} | **{total:.2f}** | |")
    print(f"\nA step, not taken apart: {1e3 * quartile(spent):.2f} ms of CPU time.")


if __name__ == "__main__":
    main()
