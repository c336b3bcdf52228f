"""Helpers that keep the subcommands' options alike."""

from __future__ import annotations

import argparse
from typing import Any


def add_option(parser: argparse._ActionsContainer, name: str, **settings: Any) -> None:
    """Add ``--some_option``, typed with underscores as in TRL or with dashes."""
    dashed = name.replace("_", "-")
    names = [name] if dashed == name else [name, dashed]
    parser.add_argument(*names, **settings)
