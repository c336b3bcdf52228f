"""Hidden states to the gradients of a cross-entropy: time and memory beside its rivals.

    python benchmarks/linear_ce.py                 # on a CUDA device where there is one
    python benchmarks/linear_ce.py --device cpu    # N 2048, H 256, float32; minutes
    python benchmarks/linear_ce.py --quick         # small sizes, seconds

An arm is forward and backward, from the same bfloat16 (on the CPU float32) inputs to the gradient
of the hidden states, and with a trainable head of the weight. *perce* makes PIR and weights on top;
*perce, CE* what all others make. *F.linear_cross_entropy* is torch's chunked form (2.13).

On a device: CUDA events around each run, arms in turns, every run on other inputs than the last,
medians. *floor* is the matrix products of our chunks alone, float32 results included, timed in the
same turns; *of floor* the floor's time over an arm's. *20 % response* has labels -100 on four rows
of five: perce gathers the response rows before the head, the others get what they can skip.

On the CPU every arm is a process of its own, so that its peak memory is its own. Memory is the
peak over what was held before the call: logits and gradients, not inputs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor

from common import arguments, machine, ratio, table
from linear_ce_arms import Arm, arms
from perce.ops.backends import get_backend
from perce.ops.cuda_device import CudaDevice

WARMUPS = 3
ROTATING = 4
"""Inputs that take turns, so that none is still in a cache."""


class Size(NamedTuple):
    """Rows, width and vocabulary."""

    n: int
    width: int
    vocab: int

    def __str__(self) -> str:
        return f"N {self.n}, H {self.width}, V {self.vocab}"


class Inputs(NamedTuple):
    """What an arm gets; ``response`` are the rows that count."""

    hidden: Tensor
    weight: Tensor
    labels: Tensor
    logp_without: Tensor
    response: Tensor

    def gathered(self) -> Inputs:
        """The response rows alone, still a function of all hidden states."""
        rows = self.response
        return self._replace(
            hidden=self.hidden[rows],
            labels=self.labels[rows],
            logp_without=self.logp_without[rows],
        )


def make_inputs(
    size: Size, dtype: torch.dtype, device: str, weight: Tensor, seed: int, share: float
) -> Inputs:
    """Random rows; a share of them response rows, in runs of 64 as records have them."""
    generator = torch.Generator(device).manual_seed(1 + seed)  # 0 is the weight's
    hidden = torch.randn(size.n, size.width, device=device, generator=generator).to(dtype)
    labels = torch.randint(0, size.vocab, (size.n,), device=device, generator=generator)
    if share < 1:
        runs = torch.arange(size.n, device=device) // 64
        labels[runs % round(1 / share) != 0] = -100
    without = -10 - torch.rand(size.n, device=device, generator=generator)
    rows = (labels != -100).nonzero().squeeze(1)
    return Inputs(hidden.requires_grad_(), weight, labels, without, rows)


def make_weight(size: Size, dtype: torch.dtype, device: str, trainable: bool) -> Tensor:
    """A random head whose logits spread over a few nats."""
    generator = torch.Generator(device).manual_seed(0)
    weight = torch.randn(size.vocab, size.width, device=device, generator=generator)
    return (weight * 2 / size.width**0.5).to(dtype).requires_grad_(trainable)


def run(arm: Arm, inputs: Inputs, *, gather: bool) -> Tensor:
    """Forward and backward; returns the loss."""
    given = inputs.gathered() if gather else inputs
    loss = arm(given.hidden, given.weight, given.labels, given.logp_without)
    wanted = [t for t in (inputs.hidden, inputs.weight) if t.requires_grad]
    torch.autograd.grad(loss, wanted)
    return loss.detach()


class Floor:
    """The matrix products of our chunks: logits and both wanted gradients, each float32."""

    def __init__(self, size: Size, rows: int, trainable: bool) -> None:
        self.rows = min(get_backend("cuda").chunk_rows(size.vocab), rows)
        self.n, self.multiply = rows, CudaDevice().multiply
        new = torch.empty
        padded = -(-size.vocab // 8) * 8
        self.logits = new(self.rows, padded, device="cuda")[:, : size.vocab]
        # A product's speed depends on its numbers and on how far its rows are apart: as in the op.
        over = new(self.rows, padded, device="cuda").view(torch.bfloat16)
        self.gradient = over[:, : size.vocab]
        self.gradient.copy_(torch.softmax(2 * torch.randn_like(self.logits), 1))
        self.grad_hidden = new(rows, size.width, device="cuda")
        self.grad_weight = new(size.vocab, size.width, device="cuda") if trainable else None

    @torch.no_grad()
    def run(self, inputs: Inputs) -> None:
        """All chunks once."""
        for start in range(0, self.n, self.rows):
            part = slice(start, min(start + self.rows, self.n))
            hidden = inputs.hidden[part]
            gradient = self.gradient[: len(hidden)]
            self.multiply(hidden, inputs.weight.t(), self.logits[: len(hidden)])
            self.multiply(gradient, inputs.weight, self.grad_hidden[part])
            if self.grad_weight is not None:
                self.multiply(gradient.t(), hidden, self.grad_weight, add=start > 0)


def seconds_on_device(action: Any) -> float:
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    action()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1000


def gigabytes_on_device(action: Any) -> float:
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    action()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 1e9


def compare_on_device(size: Size, *, trainable: bool, share: float, repeats: int) -> None:
    """One table: every installed arm at one size."""
    weight = make_weight(size, torch.bfloat16, "cuda", trainable)
    turns = [
        make_inputs(size, torch.bfloat16, "cuda", weight, seed, share) for seed in range(ROTATING)
    ]
    floor = Floor(size, len(turns[0].response), trainable)
    gathered = [Inputs(*(t.detach() for t in inputs.gathered())) for inputs in turns]
    installed = {name: arm for name, arm in arms("cuda") if arm is not None}
    times: dict[str, list[float]] = {name: [] for name in ("floor", *installed)}
    memory: dict[str, float] = {}
    for name, arm in installed.items():
        gather = share < 1 and name.startswith("perce")
        for inputs in turns[:WARMUPS]:
            run(arm, inputs, gather=gather)
        memory[name] = gigabytes_on_device(lambda a=arm, g=gather: run(a, turns[0], gather=g))
    for number in range(repeats):
        inputs = turns[number % ROTATING]
        own = gathered[number % ROTATING]
        times["floor"].append(seconds_on_device(lambda i=own: floor.run(i)))
        for name, arm in installed.items():
            gather = share < 1 and name.startswith("perce")
            times[name].append(
                seconds_on_device(lambda a=arm, i=inputs, g=gather: run(a, i, gather=g))
            )
    least = median(times["floor"])
    rows = [("floor", f"{1e3 * least:.2f} ms", "100 %", "")]
    for name in installed:
        spent = median(times[name])
        rows.append(
            (
                name,
                f"{1e3 * spent:.2f} ms",
                f"{100 * least / spent:.0f} %",
                f"{memory[name]:.2f} GB",
            )
        )
    head = "trainable" if trainable else "frozen"
    real = "all rows real" if share == 1 else f"{share:.0%} response"
    title = f"{size}, bfloat16, {head} head, {real}: median of {repeats}"
    table(title, ("arm", "time", "of floor", "memory"), rows)
    print()
    bar = ">= 0.88" if (size.n, size.vocab, trainable, share) == (8192, 151936, False, 1) else None
    ratio("floor over perce", least / median(times["perce"]), bar)
    rivals = {name: median(times[name]) for name in installed if not name.startswith("perce")}
    ratio("fastest rival over perce", min(rivals.values()) / median(times["perce"]), "> 1")
    allowed = min(memory[name] for name in rivals) + floor.logits.untyped_storage().nbytes() / 1e9
    ratio(
        "memory of perce over the leanest rival's plus a chunk", memory["perce"] / allowed, "<= 1"
    )
    if "Liger" in rivals and share < 1:
        ratio("Liger over perce", rivals["Liger"] / median(times["perce"]), ">= 3")


def resident_megabytes(field: str) -> float:
    """VmRSS (held now) or VmHWM (the peak) of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1e3
    raise LookupError(field)


def measure_on_cpu(name: str, size: Size, trainable: bool, repeats: int) -> None:
    """One arm in this process: prints seconds, peak megabytes over the inputs, and the loss."""
    arm = dict(arms("cpu"))[name]
    assert arm is not None
    small = Size(8, size.width, 64)
    tiny = make_inputs(
        small, torch.float32, "cpu", make_weight(small, torch.float32, "cpu", trainable), 0, 1
    )
    run(arm, tiny, gather=False)
    weight = make_weight(size, torch.float32, "cpu", trainable)
    inputs = make_inputs(size, torch.float32, "cpu", weight, 0, 1)
    # 5 resets the peak (Linux, proc(5)); making the inputs took more than they hold.
    Path("/proc/self/clear_refs").write_text("5")
    before = resident_megabytes("VmRSS")
    loss = float(run(arm, inputs, gather=False))
    peak = resident_megabytes("VmHWM") - before
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        run(arm, inputs, gather=False)
        seconds.append(time.perf_counter() - begin)
    print(json.dumps({"seconds": median(seconds), "peak": peak, "loss": loss}))


def compare_on_cpu(size: Size, *, trainable: bool, repeats: int) -> None:
    """One table: every arm of the CPU at one size, each in a process of its own."""
    found: dict[str, dict[str, float]] = {}
    for name, arm in arms("cpu"):
        if arm is None:
            continue
        options = ["--arm", name, "--size", *map(str, size), "--repeats", str(repeats)]
        command = [sys.executable, __file__, *options, *(["--trainable"] if trainable else [])]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr)
        found[name] = json.loads(done.stdout.splitlines()[-1])
    losses = [arm["loss"] for name, arm in found.items() if name != "perce"]
    assert max(losses) - min(losses) < 1e-4 * max(losses), found
    head = "trainable" if trainable else "frozen"
    rows = [
        (name, f"{arm['seconds']:.2f} s", f"{arm['peak']:.0f} MB") for name, arm in found.items()
    ]
    title = f"{size}, float32, {head} head, CPU: median of {repeats}, one process an arm"
    table(title, ("arm", "time", "peak over the inputs"), rows)
    print()
    ours, whole = found["perce"], found["plain PyTorch"]
    bars = ("<= 0.125", ">= 1.5") if size.vocab == 151936 and not trainable else (None, None)
    ratio("peak memory of perce over plain PyTorch", ours["peak"] / whole["peak"], bars[0])
    ratio("plain PyTorch's time over perce's", whole["seconds"] / ours["seconds"], bars[1])


def parse() -> argparse.Namespace:
    parser = arguments(__doc__)
    parser.add_argument(
        "--device", choices=["cuda", "cpu"], help="default: cuda where there is one"
    )
    parser.add_argument("--repeats", type=int, help="runs of an arm; default 20, or 3 on the CPU")
    parser.add_argument("--vocab", type=int, nargs="+", help="vocabularies to compare at")
    parser.add_argument("--trainable", action="store_true", help="CPU: the head trains too")
    parser.add_argument("--arm", help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, nargs=3, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    args = parse()
    if args.arm is not None:
        measure_on_cpu(args.arm, Size(*args.size), args.trainable, args.repeats)
        return
    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    absent = [name for name, arm in arms(device) if arm is None]
    if device == "cpu":
        sizes = [Size(2048, 256, vocab) for vocab in args.vocab or (49152, 151936)]
        for size in [Size(64, 16, 1024)] if args.quick else sizes:
            repeats = args.repeats or (1 if args.quick else 3)
            compare_on_cpu(size, trainable=args.trainable, repeats=repeats)
    else:
        vocabularies = args.vocab or (151936, 128256)
        sizes = [Size(n, 4096, vocab) for n in (8192, 2048) for vocab in vocabularies]
        for size in [Size(256, 256, 32003)] if args.quick else sizes:
            for trainable in (False, True):
                for share in (1, 0.2):
                    repeats = args.repeats or (4 if args.quick else 20)
                    compare_on_device(size, trainable=trainable, share=share, repeats=repeats)
        print(f"\nDevice: {torch.cuda.get_device_name()}, CUDA {torch.version.cuda}")
    if absent:
        print(f"\nNot installed, so not compared: {', '.join(absent)}")
    print(f"\n{machine()}, {torch.get_num_threads()} threads")


if __name__ == "__main__":
    main()
