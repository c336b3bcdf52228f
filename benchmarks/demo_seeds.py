"""How much of the demo's comparison is the seed: CE and PerCE over several training seeds.

    python benchmarks/demo_seeds.py --seeds 0 1 2 --out runs/demo-seeds

Runs the demo without its generations once a seed (seven minutes each on two cores; finished seeds
are not run again) and prints, for each held-out split, the arms' means over seeds and PerCE minus
CE with a 95 % t interval over seeds. `--quick` makes it a check that the script still runs.
"""

from __future__ import annotations

import argparse
import math
import statistics
from pathlib import Path

from perce.demo.model import smollm2_folder
from perce.demo.run import ARMS, SPLITS, run_demo
from perce.demo.settings import DemoSettings
from perce.evaluation import Evaluation

METRICS = ("nll", "nll_personal", "nll_other")
# Student's t, two-sided 95 %, by number of seeds.
T = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}


def figures(evaluations: list[Evaluation], arm: str, metric: str) -> list[float]:
    found = [a.figures[metric] for e in evaluations for a in e.arms if a.name == arm]
    return [value for value in found if value is not None]


def row(evaluations: list[Evaluation], arm: str) -> str:
    means = [statistics.mean(figures(evaluations, arm, metric)) for metric in METRICS]
    return f"| {arm} | " + " | ".join(f"{mean:.3f}" for mean in means) + " |"


def difference(evaluations: list[Evaluation], metric: str) -> str:
    ce, perce = (figures(evaluations, arm, metric) for arm in ARMS)
    deltas = [b - a for a, b in zip(ce, perce, strict=True)]
    half = T[len(deltas)] * statistics.stdev(deltas) / math.sqrt(len(deltas))
    return f"{statistics.mean(deltas):+.3f} ± {half:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("runs/demo-seeds"))
    parser.add_argument("--model", type=Path, help="a model's folder; the demo's by default")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, two seeds")
    args = parser.parse_args()
    sizes = {"train_records": 8, "eval_records": 2, "gallery_records": 2} if args.quick else {}
    seeds = args.seeds[:2] if args.quick else args.seeds
    if not 2 <= len(seeds) <= max(T):
        parser.error(f"--seeds: give 2 to {max(T)}")
    model = args.model or smollm2_folder()

    results = [
        run_demo(
            model,
            args.out / f"seed-{seed}",
            settings=DemoSettings(seed=seed, generate=0, writers=(), **sizes),
            say=lambda line, seed=seed: print(f"[seed {seed}] {line}", flush=True),
        ).evaluations
        for seed in seeds
    ]
    for split, title in SPLITS.items():
        evaluations = [result[split] for result in results]
        one = evaluations[0]
        print(f"\n{title}: {one.records} records of {one.users} writers, {len(seeds)} seeds\n")
        print("| arm | NLL, all | NLL, personal | NLL, others |\n| --- | ---: | ---: | ---: |")
        for arm in ("base", *ARMS):
            print(row(evaluations, arm))
        print("| perce - ce | " + " | ".join(difference(evaluations, m) for m in METRICS) + " |")


if __name__ == "__main__":
    main()
