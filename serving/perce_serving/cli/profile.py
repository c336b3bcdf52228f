"""``perce-adapters profile``: what is known about a user, for prompts that ask for it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from perce_serving.cli.options import add_command, add_store, add_user
from perce_serving.errors import ProfileError, StoreError
from perce_serving.profile import MOST_BYTES, encode_items, parse_profile
from perce_serving.store import LocalStore

DESCRIPTION = """\
example:
  perce-adapters profile set --store adapters --user alice profile.json

The user's next request with "perce": {"profile": true} finds the items that matter to it and shows
them to the model, as in training. A user needs no adapter for that.
"""


def add_parsers(subparsers: Any) -> None:
    """Add the subcommand and its own."""
    parser = add_command(
        subparsers, "profile", _show, summary="set, show and clear profiles",
        description=DESCRIPTION,
    )  # fmt: skip
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    setting = add_command(
        actions, "set", _set, summary="make a file's items the user's profile",
        description="example:\n  perce-adapters profile set --store adapters --user alice "
        "profile.json\n\nPROFILE is a JSON list as in perce's records: of texts, or of objects "
        "with text, or with\ncontent and perhaps title; and perhaps date and search_text. It "
        "takes the place of the\nprofile that was there, which is kept nowhere.",
    )  # fmt: skip
    add_store(setting)
    add_user(setting)
    setting.add_argument("profile", type=Path, metavar="PROFILE", help="file of items")

    show = add_command(
        actions, "show", _show, summary="the profile of a user",
        description="example:\n  perce-adapters profile show --store adapters --user alice",
    )  # fmt: skip
    add_store(show)
    add_user(show)

    clear = add_command(
        actions, "clear", _clear, summary="delete the profile of a user",
        description="example:\n  perce-adapters profile clear --store adapters --user alice",
    )  # fmt: skip
    add_store(clear)
    add_user(clear)


def _set(args: argparse.Namespace) -> int:
    with args.profile.open("rb") as file:
        text = file.read(MOST_BYTES + 1)
    try:
        items = parse_profile(text)
    except ProfileError as error:
        raise ProfileError(f"{args.profile}: {error}") from None
    profile = LocalStore(args.store).profiles.set(args.user, items)
    print(f"set: user {args.user!r}, profile {profile.version}, {len(items)} items")
    return 0


def _show(args: argparse.Namespace) -> int:
    profile = LocalStore(args.store).profiles.read(args.user)
    if profile is None:
        raise _none(args.user)
    print(f"{profile.version}  {profile.updated}  {len(profile.items):,} items")
    for row in json.loads(encode_items(profile.items)):
        print(json.dumps(row, ensure_ascii=False))
    return 0


def _clear(args: argparse.Namespace) -> int:
    if not LocalStore(args.store).profiles.clear(args.user):
        raise _none(args.user)
    print(f"cleared: user {args.user!r}")
    return 0


def _none(user: str) -> StoreError:
    return StoreError(f"user {user!r}: has no profile; set one")
