"""A GPU against one core of the same machine, and against straightforward PyTorch on the same GPU.

    python benchmarks/gpu.py --json benchmarks/gpu.json
    python benchmarks/gpu.py --only training

Each row times its sides alternately and prints the median of each, and of the ratios with their range. Sides that
make a different number of things, such as perturbations, are compared per thing.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import baseline
import torch
from speed import our_tenth_of_an_epoch, plain_tenth_of_an_epoch

from jacobian_ensembles.attacks.crafting import craft_uaps
from jacobian_ensembles.attacks.sgd_uap import SgdUap
from jacobian_ensembles.config.schema import Training
from jacobian_ensembles.ensembles.ensemble import Ensemble
from jacobian_ensembles.evaluation.accuracy import correct
from jacobian_ensembles.evaluation.jacobian_norms import jacobian_statistics
from jacobian_ensembles.models.lenet import LeNet
from jacobian_ensembles.runs.devices import prepare_device
from jacobian_ensembles.training.optimization import Optimizer

Data = tuple[torch.Tensor, torch.Tensor]


class Side(NamedTuple):
    """What is timed, and how many things a call makes."""

    call: Callable[[], object]
    count: int = 1


class Row(NamedTuple):
    """The sides of a comparison; the baseline is None where there is none."""

    core: Side
    gpu: Side
    plain: Side | None = None


def seconds(side: Side) -> float:
    """Of one thing that a side makes."""
    torch.cuda.synchronize()
    started = time.perf_counter()
    side.call()
    torch.cuda.synchronize()
    return (time.perf_counter() - started) / side.count


def measured(row: Row, repeats: int) -> dict[str, float]:
    """Median seconds of each side, median ratios to the GPU with their range, and the GPU memory taken, in MB."""
    sides = {name: side for name, side in row._asdict().items() if side is not None}
    for side in sides.values():
        side.call()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    held = torch.cuda.memory_allocated()
    row.gpu.call()
    result = {"gpu_mb": (torch.cuda.max_memory_allocated() - held) / 1e6}
    times = [{name: seconds(side) for name, side in sides.items()} for _ in range(repeats)]
    for name in sides:
        result[f"{name}_s"] = statistics.median(one[name] for one in times)
        if name != "gpu":
            ratios = sorted(one[name] / one["gpu"] for one in times)
            result |= {name: statistics.median(ratios), f"{name}_low": ratios[0], f"{name}_high": ratios[-1]}
    return result


def learners(count: int) -> list[LeNet]:
    """Untrained networks."""
    nets = [LeNet(generator=torch.Generator().manual_seed(i)) for i in range(count)]
    return [net.requires_grad_(False) for net in nets]


def training_rows(cpu: Data, gpu: Data) -> dict[str, Row]:
    """A tenth of an epoch: 55 steps of 100 images."""
    rows = {}
    for lambda_jr in (0.0, 0.1):
        sides = []
        for data in (cpu, gpu):
            net = LeNet().to(data[0].device)
            sides.append(Side(partial(our_tenth_of_an_epoch, Optimizer(net, Training()), *data, lambda_jr)))
        plain = baseline.PlainLeNet(LeNet()).to(gpu[0].device)
        adam = torch.optim.Adam(plain.parameters())
        sides.append(Side(partial(plain_tenth_of_an_epoch, plain, adam, *gpu, lambda_jr)))
        rows[f"training, 1/10 epoch, {'with' if lambda_jr else 'without'} Jacobian term"] = Row(*sides)
    return rows


def attack_rows(cpu: Data, gpu: Data, seeds: Sequence[int]) -> dict[str, Row]:
    """A perturbation of 100 steps on 200 images, by how many are crafted side by side on the GPU."""
    rows = {}
    for members in (1, 3, 9):
        here, there = Ensemble(learners(members)), Ensemble(learners(members)).to(gpu[0].device)
        plain = [baseline.PlainLeNet(net) for net in Ensemble(learners(members)).to(gpu[0].device).members]
        for count in seeds:
            rows[f"perturbation, M={members}, {count} side by side"] = Row(
                Side(partial(craft_uaps, here, *cpu, 0.15, SgdUap(), [0])),
                Side(partial(craft_uaps, there, *gpu, 0.15, SgdUap(), range(count)), count),
                Side(partial(baseline.craft_uap, plain, *gpu, 0.15, 100, 12.0, False)) if count == 1 else None,
            )
    return rows


def other_rows(cpu: Data, gpu: Data) -> dict[str, Row]:
    """Evaluation of 10,000 images under five perturbations, and exact Jacobians of 1,000 images."""
    rows = {}
    for members in (1, 9):
        here, there = Ensemble(learners(members)), Ensemble(learners(members)).to(gpu[0].device)
        deltas = 0.1 * torch.randn(5, 1, 28, 28)
        rows[f"evaluation, 10,000 images and 5 perturbations, M={members}"] = Row(
            Side(partial(correct, here, *cpu, deltas, clip=False)),
            Side(partial(correct, there, *gpu, deltas.to(gpu[0].device), clip=False)),
        )
        rows[f"Jacobians of 1,000 images, M={members}"] = Row(
            Side(partial(jacobian_statistics, list(here.members), cpu[0][:1000])),
            Side(partial(jacobian_statistics, list(there.members), gpu[0][:1000])),
        )
    return rows


def main() -> None:
    """Measure, print the table, and store it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="store the run here")
    parser.add_argument("--repeats", type=int, default=5, help="repeats of each row (default 5)")
    parser.add_argument("--only", nargs="+", metavar="TEXT", help="only the rows with one of these in their name")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 5, 50], help="perturbations side by side")
    args = parser.parse_args()
    torch.set_num_threads(1)
    prepare_device("cpu")
    device = prepare_device("cuda")
    torch.manual_seed(0)
    cpu = torch.rand(10_000, 1, 28, 28), torch.randint(0, 10, (10_000,))
    gpu = cpu[0].to(device), cpu[1].to(device)

    rows = training_rows(cpu, gpu) | attack_rows(cpu, gpu, args.seeds) | other_rows(cpu, gpu)
    name, capability = torch.cuda.get_device_name(), torch.backends.cpu.get_cpu_capability()
    print(f"{name}, beside one core with {capability}; torch {torch.__version__}\n")
    print("| operation | core | GPU | core / GPU (range) | plain PyTorch / ours, on the GPU | GPU memory |")
    print("|---|---:|---:|---:|---:|---:|")
    record = {}
    for title, row in rows.items():
        if args.only and not any(text in title for text in args.only):
            continue
        found = record[title] = measured(row, args.repeats)
        spans = [
            f"**{found[side]:.1f}** ({found[f'{side}_low']:.1f}–{found[f'{side}_high']:.1f})" if side in found else "–"
            for side in ("core", "plain")
        ]
        print(
            f"| {title} | {1e3 * found['core_s']:.1f} ms | {1e3 * found['gpu_s']:.1f} ms | {spans[0]} | {spans[1]} "
            f"| {found['gpu_mb']:.0f} MB |",
            flush=True,
        )
    if args.json:
        machine = {
            "gpu": name,
            "platform": platform.platform(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "capability": capability,
        }
        args.json.write_text(json.dumps({"machine": machine, "rows": record}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
