"""``perce-adapters verify``: every file of a store against what was published."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from perce_serving.cli.options import add_command, add_max_lora_rank, add_model, add_store
from perce_serving.store import Check, LocalStore
from perce_serving.validate import BaseModel, Validator

DESCRIPTION = """\
example:
  perce-adapters verify --store adapters

Reads every file. With --model, checks every served version against that base model as well, as a
server does. Exit code 1 if anything is damaged.
"""


def add_parsers(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = add_command(
        subparsers, "verify", _run, summary="check every file of the store", description=DESCRIPTION
    )
    add_store(parser)
    add_model(parser, default="compare files alone")
    add_max_lora_rank(parser)


def _run(args: argparse.Namespace) -> int:
    check: Check | None = None
    if args.model is not None:
        base = BaseModel.read(args.model, name=args.model_name)
        validator = Validator(base, max_rank=args.max_lora_rank)

        def check(folder: Path) -> None:
            validator.check_version(folder, folder.name)

    damaged = 0
    for finding in LocalStore(args.store).verify(check):
        print(("DAMAGED  " if finding.damage else "ok  ") + finding.text, flush=True)
        damaged += finding.damage
    return 1 if damaged else 0
