"""Helpers that keep the subcommands' options alike."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any


def add_training_command(
    subparsers: Any, name: str, *, summary: str, run: Callable[[argparse.Namespace], int]
) -> None:
    """Add a subcommand that parses its ``arguments`` itself, as that needs transformers."""
    parser = subparsers.add_parser(
        name,
        help=summary,
        add_help=False,
        # No argument looks like an option to this parser: all are handed on as they are.
        prefix_chars="\0",
    )
    parser.add_argument("arguments", nargs="*")
    parser.set_defaults(run=run)


def add_option(parser: argparse._ActionsContainer, name: str, **settings: Any) -> None:
    """Add ``--some_option``, typed with underscores as in TRL or with dashes."""
    dashed = name.replace("_", "-")
    names = [name] if dashed == name else [name, dashed]
    parser.add_argument(*names, **settings)
