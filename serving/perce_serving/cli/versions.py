"""``perce-adapters list, show, rollback, retire, erase``: what is stored, and which is served."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from perce_serving.cli.options import (
    add_command,
    add_no_server,
    add_store,
    add_user,
    check_no_server,
)
from perce_serving.errors import KeyFileError, StoreError
from perce_serving.store import LocalStore
from perce_serving.tenant.keys import KeyEntry, KeyFile

_SHORT = 12
"""Characters of a version that a table shows; any start that only one version has will do."""


def add_parsers(subparsers: Any) -> None:
    """Add the subcommands."""
    listing = add_command(
        subparsers, "list", _list, summary="users and their current versions",
        description="example:\n  perce-adapters list --store adapters",
    )  # fmt: skip
    add_store(listing)

    show = add_command(
        subparsers, "show", _show, summary="all versions of a user",
        description="example:\n  perce-adapters show --store adapters --user alice",
    )  # fmt: skip
    add_store(show)
    add_user(show)

    rollback = add_command(
        subparsers, "rollback", _rollback, summary="make an earlier version current",
        description="example:\n  perce-adapters rollback --store adapters --user alice\n\n"
        "The version that was current before becomes current again. Requests in flight finish on\n"
        "the version they began with.",
    )  # fmt: skip
    add_store(rollback)
    add_user(rollback)
    rollback.add_argument(
        "version", metavar="VERSION", nargs="?", help="this version, or the start of its name"
    )

    retire = add_command(
        subparsers, "retire", _retire, summary="serve a version no longer",
        description="example:\n  perce-adapters retire --store adapters --user alice 3f9a\n\n"
        "Its files stay, since an engine may still read them, and publishing the same adapter\n"
        "again serves it again. With --no_server they are deleted at once. The current version is\n"
        "not retired: publish or roll back first.",
    )  # fmt: skip
    add_store(retire)
    add_user(retire)
    add_no_server(retire)
    retire.add_argument("version", metavar="VERSION", help="the version, or the start of its name")

    erase = add_command(
        subparsers, "erase", _erase, summary="withdraw a user: every version, profile, keys",
        description="example:\n  perce-adapters erase --store adapters --keys keys.json "
        "--user alice\n\nFrom now on no key of the user is taken and no version is served; there "
        "is no way back. The\nfiles stay until a server knows that its engine asks for none of "
        "them any more: vLLM dies\nwhen one is gone that it loads again. With --no_server they are "
        "deleted at once.",
    )  # fmt: skip
    add_store(erase)
    add_user(erase)
    erase.add_argument("--keys", type=Path, help="file of keys (default: the user has none)")
    add_no_server(erase)


def _list(args: argparse.Namespace) -> int:
    store = LocalStore(args.store)
    for user in store.users():
        # Either may be gone by now: another process may erase what it has just listed.
        current = store.current(user)
        versions = store.versions(user)
        if current is not None and versions:
            print(f"{current[:_SHORT]}  {len(versions):>4} stored  {user}")
    return 0


def _show(args: argparse.Namespace) -> int:
    store = LocalStore(args.store)
    current = store.current(args.user)
    if current is None:
        raise StoreError(f"user {args.user!r}: has no adapter; publish one")
    for version in store.versions(args.user):
        state = "retired" if version.retired else "served"
        if version.version == current:
            state = "current"
        print(f"{version.version}  {state:<7}  {version.published}  {version.size:>12,} bytes")
    return 0


def _rollback(args: argparse.Namespace) -> int:
    store = LocalStore(args.store)
    to = None if args.version is None else _find(store, args.user, args.version)
    print(f"current: user {args.user!r}, version {store.rollback(args.user, to)}")
    return 0


def _retire(args: argparse.Namespace) -> int:
    check_no_server(args)
    store = LocalStore(args.store)
    version = _find(store, args.user, args.version)
    store.retire(args.user, version)
    if args.no_server:
        store.collect(args.user, version)
    print(f"retired: user {args.user!r}, version {version}, {_files(args)}")
    return 0


def _erase(args: argparse.Namespace) -> int:
    check_no_server(args)
    # The keys first: nobody gets in while the versions are withdrawn.
    revoked = _revoke_keys(args)
    known = LocalStore(args.store).erase(args.user, delete=args.no_server)
    if not known and not revoked:
        raise StoreError(f"user {args.user!r}: has no adapter, profile or key; list the users")
    print(f"erased: user {args.user!r}, keys revoked: {len(revoked)}, {_files(args)}")
    return 0


def _revoke_keys(args: argparse.Namespace) -> tuple[KeyEntry, ...]:
    """Revoke the user's keys; a mistyped file must not seem one without any."""
    if args.keys is None:
        return ()
    if not args.keys.exists():
        raise KeyFileError(f"{args.keys}: there is no such file; leave out --keys if so intended")
    return KeyFile(args.keys).revoke_user(args.user)


def _files(args: argparse.Namespace) -> str:
    """What became of the files of what is withdrawn."""
    return "files deleted" if args.no_server else "files kept until collected"


def _find(store: LocalStore, user: str, start: str) -> str:
    """The one version of a user whose name begins like this.

    Raises:
        StoreError: there is none, or more than one.
    """
    names = [version.version for version in store.versions(user)]
    found = [name for name in names if start and name.startswith(start)]
    if len(found) == 1:
        return found[0]
    many = f"{len(found)} versions begin" if found else "no version begins"
    raise StoreError(f"user {user!r}: {many} with {start[:80]!r}; show the user's versions")
