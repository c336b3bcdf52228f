"""The ``perce-adapters`` command: each module adds subcommands of one kind."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import perce_serving
from perce_serving.cli import collect, keys, profile, publish, verify, versions
from perce_serving.errors import ServingError

_DESCRIPTION = "Keep one adapter a user: publish, look, go back, withdraw; and who may ask for it."


class _Parser(argparse.ArgumentParser):
    """Reports one line, where argparse would print the whole usage before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all subcommands."""
    parser = _Parser(prog="perce-adapters", description=_DESCRIPTION, allow_abbrev=False)
    version = f"perce-adapters {perce_serving.__version__}"
    parser.add_argument("--version", action="version", version=version)
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in (publish, versions, collect, profile, verify, keys):
        module.add_parsers(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand.

    Returns:
        0; 1 if ``verify`` found damage; 2 after a one-line error; 130 after Ctrl-C.
    """
    args = build_parser().parse_args(argv)
    try:
        code = int(args.run(args))
        sys.stdout.flush()
    except BrokenPipeError:
        # `| head` has seen enough; the interpreter must not flush into the closed pipe at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ServingError, OSError) as error:
        print(f"perce-adapters {args.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"perce-adapters {args.command}: interrupted", file=sys.stderr)
        return 130
    return code
