"""``perce-adapters collect``: give the disk of what was withdrawn back, when no server runs."""

from __future__ import annotations

import argparse
from typing import Any

from perce_serving.cli.options import add_command, add_no_server, add_store, check_no_server
from perce_serving.store import LocalStore

DESCRIPTION = """\
example:
  perce-adapters collect --store adapters

Lists the versions that are served no more, retired or their user erased, and what they take. With
--no_server, deletes their files. A server that runs deletes them by itself, as soon as its engine
can ask for none of them: it would die if one were gone that it loads again.
"""


def add_parsers(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = add_command(
        subparsers, "collect", _run, summary="delete what was withdrawn", description=DESCRIPTION
    )
    add_store(parser)
    add_no_server(parser)


def _run(args: argparse.Namespace) -> int:
    check_no_server(args)
    store = LocalStore(args.store)
    count = size = 0
    for user in store.users():
        for version in store.versions(user):
            if version.retired:
                if args.no_server:
                    store.collect(user, version.version)
                print(f"{version.version}  {version.size:>12,} bytes  {user}")
                count += 1
                size += version.size
    print(f"{'deleted' if args.no_server else 'withdrawn'}: {count} versions, {size:,} bytes")
    return 0
