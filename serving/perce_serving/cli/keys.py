"""``perce-adapters keys``: who may ask, and as whom."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from perce_serving.cli.options import add_command
from perce_serving.tenant.identity import Caller
from perce_serving.tenant.keys import KeyFile

DESCRIPTION = """\
example:
  perce-adapters keys create --keys keys.json --user alice

A key is shown once, when it is made; the file holds only its hash. Servers notice a change of the
file with the next request.
"""


def add_parsers(subparsers: Any) -> None:
    """Add the subcommand and its own."""
    parser = add_command(
        subparsers, "keys", _list, summary="make, list and revoke keys", description=DESCRIPTION
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    create = add_command(
        actions, "create", _create, summary="make a key and print it",
        description="example:\n  perce-adapters keys create --keys keys.json --user alice",
    )  # fmt: skip
    _add_keys(create)
    whose = create.add_mutually_exclusive_group(required=True)
    whose.add_argument("--user", help="id of the user who asks with it")
    whose.add_argument("--operator", action="store_true", help="for metrics and health, not chat")

    listing = add_command(
        actions, "list", _list, summary="ids of all keys, and whose they are",
        description="example:\n  perce-adapters keys list --keys keys.json",
    )  # fmt: skip
    _add_keys(listing)

    revoke = add_command(
        actions, "revoke", _revoke, summary="refuse a key from now on",
        description="example:\n  perce-adapters keys revoke --keys keys.json 0123456789abcdef",
    )  # fmt: skip
    _add_keys(revoke)
    revoke.add_argument("id", metavar="ID", help="the key's id, as listed; part of the key itself")


def _add_keys(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--keys", type=Path, required=True, help="file of keys")


def _create(args: argparse.Namespace) -> int:
    caller = Caller(operator=True) if args.operator else Caller(args.user)
    print(KeyFile(args.keys).create(caller).text)
    return 0


def _list(args: argparse.Namespace) -> int:
    for entry in KeyFile(args.keys).entries():
        created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(entry.created))
        print(f"{entry.id}  {created}  {_whose(entry.caller)}")
    return 0


def _revoke(args: argparse.Namespace) -> int:
    entry = KeyFile(args.keys).revoke(args.id)
    print(f"revoked: key {entry.id} of {_whose(entry.caller)}")
    return 0


def _whose(caller: Caller) -> str:
    return "the operator" if caller.user is None else f"user {caller.user!r}"
