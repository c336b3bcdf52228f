"""Training speed and peak memory beside TRL's SFTTrainer: same model, same ids, same learning.

    python benchmarks/trainer.py                          # ten layers of SmolLM2-135M's shape
    python benchmarks/trainer.py --quick                  # a tiny model, a minute
    python benchmarks/trainer.py --model DIR --arms "perce PerCE" "TRL packing bfd"

Every arm is a process of its own, so that its peak memory is its own; arms run in turns. All train
on the very same ids and labels (TRL gets them tokenised), in float32, without gradient
checkpointing, with AdamW and about ``--max_tokens`` tokens a step; what they learn is checked: the
mean loss of a response token in the first epoch agrees between arms. Tokens are those with the
profile: perce's PerCE reads the profile-free stream on top and gets no credit for it. Per arm the
mean step, the slowest and the fastest left out; then the median over ``--repeats`` runs.

TRL's modes: *packing bfd* is padding-free, *padding-free* keeps the batch's records as they come,
*padded* is its default collator. Its loss never holds all logits (``loss_type`` "nll").
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from common import arguments, machine, random_model, random_records, ratio, table, tokenizer_of
from perce.pairs import PairLoader
from perce.tokens import PreparedData
from steps import Steps, run, shared_options, train_perce

OURS = {"perce CE": {"objective": "ce"}, "perce PerCE": {"objective": "perce"}}
RIVALS: dict[str, dict[str, Any]] = {
    "TRL packing bfd": {"packing": True, "packing_strategy": "bfd"},
    "TRL padding-free": {"padding_free": True},
    "TRL padded": {},
}
LOSS_TOLERANCE = 0.05
"""Arms share the data and not the order, so they differ a little."""


def train_trl(
    model: Any, tokenizer: Any, data: PreparedData, folder: Path, options: dict[str, Any], size: int
) -> Steps:
    """A run of TRL's on the same ids, labels on the response alone."""
    import datasets
    from trl import SFTConfig, SFTTrainer

    datasets.disable_progress_bars()
    rows = []
    loader = PairLoader(data.core, packing=False, per_device_train_batch_size=1, shuffle=False)
    for batch in loader:
        ids = batch.with_profile.input_ids
        labels = torch.full_like(ids, -100)
        labels[batch.with_profile.rows + 1] = batch.labels
        rows.append({"input_ids": ids.tolist(), "labels": labels.tolist()})
    packing = options.get("packing", False)
    config = SFTConfig(
        **shared_options(folder),
        **options,
        max_length=size if packing else None,
        per_device_train_batch_size=1 if packing else batch_size(data, size),
    )
    dataset = datasets.Dataset.from_list(rows)
    return run(
        SFTTrainer(model=model, args=config, train_dataset=dataset, processing_class=tokenizer)
    )


def batch_size(data: PreparedData, max_tokens: int) -> int:
    """Records in a step of so many tokens."""
    return max(1, round(max_tokens / float(np.mean(data.core.lengths()[0]))))


def measure(args: Any) -> None:
    """Run one arm in this process, and print what came of it as JSON."""
    tokenizer = tokenizer_of(args.model)
    model = random_model(args.model, args.layers, quick=args.quick)
    data = PreparedData.open(args.prepared)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        common: dict[str, Any] = {"num_train_epochs": 1}
        if args.arm in OURS:
            options = {"max_tokens": args.max_tokens, "short_ratio": 2.0} | common
            steps = train_perce(model, data, folder, **OURS[args.arm], **options)
        else:
            options = RIVALS[args.arm] | common
            steps = train_trl(model, tokenizer, data, folder, options, args.max_tokens)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = {
        "seconds": sum(sorted(steps.seconds)[1:-1]) / (len(steps.seconds) - 2),
        "steps": len(steps.seconds),
        "loss": float(np.mean(steps.losses)),
        "peak": peak / (2**30 if sys.platform == "darwin" else 2**20),
    }
    print(json.dumps(result))


def start(args: Any, arm: str, prepared: Path) -> dict[str, float]:
    """Run an arm in a process of its own."""
    command = [sys.executable, __file__, "--arm", arm, "--prepared", str(prepared)]
    command += ["--layers", str(args.layers), "--max_tokens", str(args.max_tokens)]
    command += ["--quick"] * args.quick + ["--model", str(args.model)] * bool(args.model)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{arm} failed:\n{done.stderr[-2000:]}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def compare(args: Any) -> None:
    """Run all arms in turns, and print the table."""
    tokenizer = tokenizer_of(args.model)
    with tempfile.TemporaryDirectory() as name:
        data = random_records(Path(name), tokenizer, args.records, profile=args.profile)
        tokens = int(data.core.lengths()[0].sum())
        results: dict[str, list[dict[str, float]]] = {arm: [] for arm in args.arms}
        for _ in range(args.repeats):
            for arm in args.arms:
                results[arm].append(start(args, arm, data.path))
    speeds, rows = {}, []
    for arm, runs in results.items():
        step = median(run["seconds"] for run in runs)
        speeds[arm] = tokens / runs[0]["steps"] / step
        losses, peak = [run["loss"] for run in runs], max(run["peak"] for run in runs)
        rows.append(
            (arm, f"{speeds[arm]:,.0f}", f"{step:.2f} s", f"{peak:.2f}", f"{losses[0]:.4f}")
        )
    table(
        f"{args.records} records of {tokens // args.records} tokens, steps of {args.max_tokens}",
        ("arm", "tokens/s", "step", "peak memory, GiB", "mean loss"),
        rows,
    )
    print()
    losses = [run["loss"] for runs in results.values() for run in runs]
    if max(losses) - min(losses) > LOSS_TOLERANCE * min(losses):
        raise AssertionError(f"the arms do not learn the same: losses {losses}")
    rivals = [speed for arm, speed in speeds.items() if arm in RIVALS]
    for arm, goal in (("perce PerCE", ">= 2"), ("perce CE", None)):
        if arm in speeds and rivals:
            ratio(f"{arm} over TRL's fastest CE", speeds[arm] / max(rivals), goal)
    print(f"\n{machine('transformers', 'trl')}, {torch.get_num_threads()} threads")


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--model", help="folder of a model; random weights without it")
    parser.add_argument("--layers", type=int, default=10)
    parser.add_argument("--records", type=int, default=48)
    parser.add_argument("--profile", type=int, default=300, help="words of a profile")
    parser.add_argument("--max_tokens", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=3)
    every = [*OURS, *RIVALS]
    parser.add_argument("--arms", nargs="+", choices=every, default=every, metavar="ARM")
    parser.add_argument("--arm", help="run this one alone, in this process")
    parser.add_argument("--prepared", help="the data of --arm")
    args = parser.parse_args()
    if args.quick and not args.arm:
        args.records, args.profile, args.max_tokens, args.repeats = 12, 100, 700, 1
        args.arms = ["perce CE", "perce PerCE", "TRL packing bfd", "TRL padded"]
    if args.arm:
        measure(args)
    else:
        compare(args)


if __name__ == "__main__":
    main()
