"""What a training step costs in PyTorch, in time and memory, as ratios to the static network.

    python benchmarks/torch_training_step.py resnet18:conv,relu,both
    python benchmarks/torch_training_step.py resnet18:scale,dcd,relu-shift-max --rounds 5
    python benchmarks/torch_training_step.py resnet18:conv --batch 256 --memory-only
    python benchmarks/torch_training_step.py resnet18:both --channels-last --compile

A step is forward, loss and backward, in train mode. All networks of a row are timed in the same
rounds. Memory is the most that torch's CPU allocator gave out during a step: activations, what the
backward needs, and the gradients, but not the parameters. Nothing else should be running.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

import dynsurgeon as ds
from dynsurgeon.timing.interleave import interleaved
from dynsurgeon.timing.machine import describe_machine
from dynsurgeon.timing.noise import noise_warning

CONFIGS = {
    "conv": ds.SurgeryConfig(activation=None),
    "relu": ds.SurgeryConfig(conv=None),
    "both": ds.SurgeryConfig(),
} | {
    name: ds.SurgeryConfig(conv=name, activation=None)
    for name in ("scale", "dcd", "se", "condconv")
} | {
    f"relu-{name}": ds.SurgeryConfig(conv=None, activation=name) for name in ("shift-max", "se")
} | {
    f"odconv-k{k}": ds.SurgeryConfig(conv=ds.ODConvConfig(experts=k), activation=None)
    for k in (1, 4)
}  # fmt: skip
Step = Callable[[], None]


def main() -> None:
    """Measure what the arguments name."""
    options = parse()
    torch.set_num_threads(options.threads)
    print(json.dumps({**describe_machine(), "torch": torch.__version__, **vars(options)}))
    name, _, kinds = options.subject.partition(":")
    layout = torch.channels_last if options.channels_last else torch.contiguous_format
    x = torch.randn(options.batch, 3, options.size, options.size).to(memory_format=layout)
    labels = torch.randint(1000, (options.batch,))
    networks = {"static": torchvision.models.get_model(name)}
    for kind in kinds.split(","):
        networks[kind] = ds.convert(torchvision.models.get_model(name), x[:2], CONFIGS[kind])
    steps = {
        kind: step(net.to(memory_format=layout).train(), x, labels)
        for kind, net in networks.items()
    }
    print("| network | peak of a step, MiB | ratio |\n|---|---|---|")
    memory = {kind: peak_bytes(run) for kind, run in steps.items()}
    for kind, size in memory.items():
        print(f"| {kind} | {size / 2**20:.0f} | {size / memory['static']:.2f} |", flush=True)
    if not options.memory_only:
        if options.compile:
            steps |= {
                f"{kind}, compiled": step(compiled(net), x, labels)
                for kind, net in networks.items()
            }
        print_times(steps, options.rounds)


def print_times(steps: dict[str, Step], rounds: int) -> None:
    """Time all steps in the same rounds."""
    times = interleaved(steps, rounds=rounds, warmup=2)
    print("| network | ms a step | ratio | ratio of the least |\n|---|---|---|---|")
    for kind, timing in times.items():
        by = timing.against(times["static"])
        least = timing.least / times["static"].least
        print(f"| {kind} | {1e3 * timing.median:.0f} | {by.ratio:.2f} | {least:.2f} |")
    if (warning := noise_warning(times.values())) is not None:
        print(warning)


def step(net: nn.Module, x: Tensor, labels: Tensor) -> Step:
    """Return one training step without the optimizer."""

    def run() -> None:
        net.zero_grad()
        F.cross_entropy(net(x), labels).backward()

    return run


def compiled(net: nn.Module) -> nn.Module:
    """Compile with inductor."""
    return torch.compile(net)  # type: ignore[return-value]


def peak_bytes(run: Step) -> int:
    """Return the most bytes held at once by tensors made during a step."""
    run()  # what is made once is not counted
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        run()
    held = most = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("subject", help="torchvision model:conv,relu,both,scale,dcd,se,…")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--memory-only", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
