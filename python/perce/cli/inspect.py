"""``perce inspect``: what the model really sees of a prepared record."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perce.cli.options import add_option

if TYPE_CHECKING:
    from perce.tokens import PreparedData, PreparedRecord

_EXAMPLE = """\
perce inspect prepared/ --record 17

Show a prepared record as the model reads it: the prompt with and without the profile, the
response, and what became of the profile's items.
"""


def add_parser(subparsers: Any) -> None:
    """Add the subcommand's options."""
    parser = subparsers.add_parser(
        "inspect",
        help="show what the model sees of a record",
        description=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    parser.add_argument("data", type=Path, help="prepared folder, or one of its splits")
    add_option(parser, "--record", type=int, default=0, help="index of the record (default 0)")
    add_option(parser, "--split", help="default: train, or the only split there is")
    add_option(parser, "--json", action="store_true", help="as JSON, with the token ids")


def run(args: argparse.Namespace) -> int:
    """Print one record."""
    from perce.tokens import PreparedData, list_splits

    splits = list_splits(args.data)
    split = args.split or (splits[0] if len(splits) == 1 else "train")
    data = PreparedData.open(args.data, split=split)
    prepared = data.record(args.record)
    view = describe(data, prepared, args.record)
    print(json.dumps(view, ensure_ascii=False, indent=2) if args.json else _as_text(view))
    return 0


def describe(data: PreparedData, prepared: PreparedRecord, index: int) -> dict[str, Any]:
    """All that there is to see of a record, in JSON's types.

    Texts are those that were tokenised: control tokens in people's words are broken up.
    """
    template, record = data.template, prepared.record
    return {
        "record": index,
        "id": record.id,
        "user_id": record.user_id,
        "prefix_with": {
            "text": template.render(record.messages, prepared.shown),
            "ids": prepared.prefix_with_ids.tolist(),
        },
        "prefix_without": {
            "text": template.render(record.messages),
            "ids": prepared.prefix_without_ids.tolist(),
        },
        "response": {
            "text": template.neutralise(record.response),
            "ids": prepared.response_ids.tolist(),
        },
        "items": {
            "kept": [item.text for item in prepared.kept],
            "cut": [item.text for item in prepared.cut],
            "dropped": [item.text for item in prepared.dropped],
            "not_retrieved": prepared.not_retrieved,
        },
    }


def _as_text(view: dict[str, Any]) -> str:
    items = view["items"]
    parts = [f"record {view['record']} (id {view['id']}), user {view['user_id']}"]
    for name, title in (
        ("prefix_with", "prompt with the profile"),
        ("prefix_without", "prompt without the profile"),
        ("response", "response and the end of its turn, the same after both"),
    ):
        part = view[name]
        parts.append(f"--- {title}: {len(part['ids'])} tokens ---\n{part['text']}")
    parts.append(
        f"--- profile items: {len(items['kept'])} kept, {len(items['cut'])} cut, "
        f"{len(items['dropped'])} dropped, {items['not_retrieved']} not retrieved ---"
    )
    parts += [f"cut to: {text}" for text in items["cut"]]
    parts += [f"dropped: {text}" for text in items["dropped"]]
    return "\n\n".join(parts)
