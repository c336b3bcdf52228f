"""``perce-adapters publish``: check an adapter, store it, make it the user's current one."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from perce_serving.cli.options import add_command, add_max_lora_rank, add_model, add_store, add_user
from perce_serving.errors import ServingError, ValidationError
from perce_serving.store import LocalStore
from perce_serving.validate import BaseModel, Validator, base_of, find_base

DESCRIPTION = """\
example:
  perce-adapters publish --store adapters --user alice runs/alice

ADAPTER is a folder that PEFT saved. It is copied and checked against its base model; if anything is
wrong with it, the store stays as it is. The next request of the user gets the new version.
"""


def add_parsers(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = add_command(
        subparsers, "publish", _run, summary="check and store an adapter", description=DESCRIPTION
    )
    add_store(parser)
    add_user(parser)
    add_model(parser, default="the one the adapter names")
    add_max_lora_rank(parser)
    parser.add_argument("adapter", type=Path, metavar="ADAPTER", help="folder that PEFT saved")


def _run(args: argparse.Namespace) -> int:
    base = _base(args)
    try:
        validator = Validator(base, max_rank=args.max_lora_rank)
        # Once before it is copied, too: what is refused may be larger than the disk.
        validator.check(args.adapter)
        version = LocalStore(args.store).publish(args.user, args.adapter, check=validator.check)
    except ValidationError as error:
        raise ServingError(f"{args.adapter}: {error}") from error
    print(
        f"published: user {version.user!r}, version {version.version} ({version.size:,} bytes), "
        f"checked against {base.name!r}"
    )
    return 0


def _base(args: argparse.Namespace) -> BaseModel:
    if args.model is not None:
        return BaseModel.read(args.model, name=args.model_name)
    try:
        return find_base(base_of(args.adapter))
    except ServingError as error:
        raise ServingError(f"{args.adapter}: {error}") from error
