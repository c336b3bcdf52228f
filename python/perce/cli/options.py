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


def add_scoring_options(parser: argparse.ArgumentParser, *, split: str) -> None:
    """Add what every command that scores prepared data with a model takes."""
    add_option(parser, "--model", required=True, help="model folder or hub id")
    add_option(parser, "--data", required=True, help="prepared folder, or one of its splits")
    add_option(parser, "--split", default=split, help=f"split of the folder (default: {split})")
    add_option(
        parser,
        "--threshold",
        type=float,
        default=0.5,
        help="PIR in nats above which a token counts as personal (default: 0.5)",
    )
    add_option(
        parser,
        "--max_tokens",
        type=int,
        default=4096,
        help="tokens of the long stream in a micro-batch (default: 4096)",
    )
    add_option(parser, "--dtype", default="float32", help="dtype of the weights (default: float32)")


def add_option(parser: argparse._ActionsContainer, name: str, **settings: Any) -> None:
    """Add ``--some_option``, typed with underscores as in TRL or with dashes."""
    dashed = name.replace("_", "-")
    names = [name] if dashed == name else [name, dashed]
    parser.add_argument(*names, **settings)
