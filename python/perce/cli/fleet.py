"""``perce fleet``: one adapter a user."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from perce.cli.options import add_training_command

HELP = """\
usage: perce fleet --base_adapter runs/perce --data prepared/ --out adapters/ [--OPTION VALUE ...]

Try it:
  perce fleet --model M --data prepared/ --out adapters/

Trains one LoRA adapter a user on that user's own records, one user after the other over one base
model in memory, and measures each on held-out records before and after. Stop it with Ctrl-C, or
kill it: the same command goes on, and ends with the same adapters.

Options come from the YAML file of --config (one `name: value` a line), then from the command line,
which goes over it. Underscores and dashes are the same.

which users, from what
  --base_adapter DIR           start from a copy of this adapter; from new ones without it
  --model M                    base model; what base_adapter names by default
  --data DIR                   prepared folder, split train (made by perce prepare)
  --eval_data DIR              held-out records of the same users, split val
  --eval_share 0.2             without eval_data, the share of a user's last records held out
  --users all                  all, or a file with a user id a line
  --min_records 5              skip users with fewer records to train on
  --out DIR                    the adapters, fleet.json and fleet.md
  --dtype float32              dtype of the base model's weights

adapters (without base_adapter)
  --lora_r 16  --lora_alpha 32  --lora_dropout 0.0  --lora_target_modules all-linear

for perce-serve (pip install perce-serving)
  --publish                    publish each user's adapter as soon as it is finished
  --store DIR                  folder of the store
  --max_lora_rank 64           highest rank that the server takes

often wanted
  --objective perce  --learning_rate 2e-4  --num_train_epochs 3  --max_steps N
  --max_tokens 16384  --gradient_accumulation_steps 1  --seed 42  --bf16
  --personal_threshold 0.5     PIR in nats above which a held-out token is personal
  --save_strategy no           steps, with --save_steps N, saves users whose training is long

Every other training option of perce train works, too, but those that mean nothing here, which are
refused by name.  --help_all lists them all.

Exits with 1 if some user's training failed, or the store refused an adapter; the others are there.
"""


def add_parser(subparsers: Any) -> None:
    """Add the subcommand; its options are parsed later, as they need transformers."""
    add_training_command(subparsers, "fleet", summary="train one adapter a user", run=run)


def run(args: argparse.Namespace) -> int:
    """Train. Returns 0, 1 after a failed user or a refused adapter, or 130 after Ctrl-C."""
    arguments: Sequence[str] = args.arguments
    if not arguments or {"-h", "--help"} & set(arguments):
        print(HELP, end="")
        return 0
    from transformers.utils.logging import disable_progress_bar

    from perce.fleet import FleetArguments, print_report, run_script
    from perce.fleet.script import DEFAULTS
    from perce.report.characters import visible
    from perce.report.progress import batches
    from perce.training.run import make_parser, parse_arguments

    if not sys.stderr.isatty():
        disable_progress_bar()
    if {"--help_all", "--help-all"} & set(arguments):
        make_parser(FleetArguments, prog="perce fleet").print_help()
        return 0
    script, config, lora = parse_arguments(
        arguments, FleetArguments, prog="perce fleet", defaults=DEFAULTS
    )
    try:
        with batches() as told:
            report = run_script(script, config, lora, progress=told)
    except KeyboardInterrupt:
        print("perce fleet: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    print_report(report)
    print(f"saved to {script.out}")
    if script.publish:
        print(f"published into {script.store}: {len(report.published)} adapters")
    failed = report.of("failed")
    if failed:
        names = visible(", ".join(failed))
        print(f"perce fleet: {len(failed)} users failed: {names}", file=sys.stderr)
    for user, reason in report.unpublished.items():
        print(f"perce fleet: user {visible(user)}: {visible(reason)}", file=sys.stderr)
    return 1 if failed or report.unpublished else 0
