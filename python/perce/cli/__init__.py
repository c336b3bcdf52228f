"""The ``perce`` command: one module a subcommand, each with ``add_parser`` and ``run``."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from perce.errors import PerceError

COMMANDS = ("prepare", "inspect", "score", "train", "eval", "demo", "env")
"""Subcommands in the order of a record's way; each is a module here, ``eval`` is ``evaluate``."""

_MODULES = {"eval": "evaluate"}


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all subcommands. Importing it loads neither torch nor transformers."""
    parser = argparse.ArgumentParser(prog="perce", description=__doc__, allow_abbrev=False)
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        module = importlib.import_module(f"perce.cli.{_MODULES.get(name, name)}")
        module.add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand. Returns 0, 2 after a one-line error, 130 after Ctrl-C."""
    args = build_parser().parse_args(argv)
    try:
        return int(args.run(args))
    except PerceError as error:
        print(f"perce {args.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"perce {args.command}: interrupted", file=sys.stderr)
        return 130
