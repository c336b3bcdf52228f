"""``perce prepare``: from texts to a folder of token ids."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perce.cli.options import add_option
from perce.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from perce.data.sources import Source
    from perce.prepare import Progress
    from perce.tokens import PreparedData

SOURCES = ("longlamp", "sotu", "known_truth", "tabular")

_EXAMPLE = """\
perce prepare --source known_truth --model MODEL --out prepared/

Tokenise a data set once: choose profile items, render both prompts, cut profiles to fit. Each
split becomes a folder in --out; a second run with the same data, model and options is instant.

  perce prepare --source longlamp --task abstract --path DIR --model MODEL --out prepared/
  perce prepare --source tabular --path letters.jsonl --field user_id=author --model MODEL --out p/
"""

_ONLY_FOR = {
    "task": ("longlamp",),
    "setting": ("longlamp",),
    "path": ("longlamp", "tabular"),
    "field": ("tabular",),
}


def add_parser(subparsers: Any) -> None:
    """Add the subcommand's options."""
    parser = subparsers.add_parser(
        "prepare",
        help="tokenise a data set once",
        description=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    add_option(parser, "--source", required=True, choices=SOURCES, help="where records come from")
    add_option(
        parser,
        "--model",
        required=True,
        help="model folder or hub id; only its tokenizer is loaded",
    )
    add_option(parser, "--out", required=True, type=Path, help="folder to write")
    add_option(
        parser, "--split", action="append", help="a split to prepare, repeatable; default: all"
    )

    data = parser.add_argument_group("data")
    add_option(
        data,
        "--path",
        type=Path,
        help="local files (longlamp, tabular); longlamp without it: the hub",
    )
    add_option(data, "--task", help="longlamp: abstract, review or topic")
    add_option(data, "--setting", help="longlamp: user (default) or temporal")
    add_option(
        data,
        "--field",
        action="append",
        metavar="OURS=THEIRS",
        help="tabular: what a field is called in the file, such as user_id=author; repeatable",
    )
    add_option(
        data,
        "--history",
        action="store_true",
        help="a record for each profile item, the others as profile; not the data's own",
    )
    add_option(
        data,
        "--history_earlier",
        action="store_true",
        help="with --history: only the items before it as profile, as perce fleet wants it",
    )
    add_option(
        data,
        "--history_instruction",
        help="how --history asks for an item, such as 'Write an essay called \"{title}\"'",
    )
    add_option(data, "--limit", type=int, help="use only so many of the first records of a split")
    add_option(data, "--skip_bad", action="store_true", help="leave bad records out, and list them")

    profile = parser.add_argument_group("profile")
    add_option(
        profile,
        "--retrieval",
        default="bm25",
        help="how to choose profile items: bm25 (default), recency, random or none",
    )
    profile.add_argument(
        "-k", type=int, default=4, help="how many profile items to choose (default 4)"
    )
    add_option(profile, "--seed", type=int, default=0, help="for --retrieval random")
    add_option(
        profile,
        "--max_length",
        type=int,
        help="most tokens of a record with its profile (default 2048, or the model's context)",
    )
    add_option(profile, "--max_profile_length", type=int, help="most tokens that a profile may add")

    prompt = parser.add_argument_group("prompt")
    add_option(
        prompt,
        "--chat_template",
        type=Path,
        help="Jinja file to use in place of the model's template",
    )
    add_option(
        prompt,
        "--chat_template_kwargs",
        metavar="JSON",
        help="arguments of the template, such as '{\"enable_thinking\": false}'",
    )
    add_option(
        prompt, "--date", help="the date that templates print as today's (default 2024-07-26)"
    )
    add_option(
        parser,
        "--num_proc",
        type=int,
        default=1,
        help="processes that tokenise (default 1); pays from some 100,000 records on",
    )
    add_option(
        parser, "--overwrite", action="store_true", help="replace a folder prepared otherwise"
    )


def run(args: argparse.Namespace) -> int:
    """Prepare the splits and print what became of the records."""
    from perce.data.sources.base import check_split
    from perce.prepare import PrepareOptions, prepare

    source = build_source(args)
    for split in args.split or ():
        check_split(source, split)
    options = PrepareOptions(
        retrieval=args.retrieval,
        k=args.k,
        max_length=args.max_length,
        max_profile_length=args.max_profile_length,
        seed=args.seed,
        limit=args.limit,
        skip_bad=args.skip_bad,
        overwrite=args.overwrite,
        num_proc=args.num_proc,
    )
    prompt = _prompt_arguments(args)

    # Seconds go by from here on, so all that can be wrong without it is found out before.
    from perce.data.prompts import PromptTemplate
    from perce.modeling.loading import load_tokenizer

    tokenizer = load_tokenizer(args.model)
    options = replace(options, context=_context(args.model))
    template = PromptTemplate.from_tokenizer(tokenizer, style=source.style, **prompt)
    for split in args.split or source.splits():
        with _progress(split) as progress:
            data = prepare(
                source,
                split,
                tokenizer,
                args.out,
                options=options,
                template=template,
                progress=progress,
            )
        _print_counts(split, data)
    return 0


def build_source(args: argparse.Namespace) -> Source:
    """The source that the options ask for.

    Raises:
        OptionError: An option is missing, or belongs to another source.
    """
    from perce.data.history import HistorySource
    from perce.data.sources import KnownTruthSource, LongLaMPSource, SotuSource, TabularSource

    for option, sources in _ONLY_FOR.items():
        if getattr(args, option) is not None and args.source not in sources:
            raise OptionError(option, f"belongs to --source {' or '.join(sources)}")
    source: Source
    if args.source == "longlamp":
        if args.task is None:
            raise OptionError("task", "--source longlamp needs it: abstract, review or topic")
        source = LongLaMPSource(args.task, setting=args.setting or "user", path=args.path)
    elif args.source == "tabular":
        if args.path is None:
            raise OptionError("path", "--source tabular needs it: a file or a folder")
        source = TabularSource(args.path, fields=_fields(args.field or []))
    elif args.source == "sotu":
        source = SotuSource()
    else:
        source = KnownTruthSource()
    if args.history:
        return HistorySource(source, args.history_instruction, earlier=args.history_earlier)
    if args.history_instruction is not None:
        raise OptionError("history_instruction", "belongs to --history")
    if args.history_earlier:
        raise OptionError("history_earlier", "belongs to --history")
    return source


def _fields(pairs: list[str]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for pair in pairs:
        ours, equals, theirs = pair.partition("=")
        if not (ours and equals and theirs):
            raise OptionError("field", f"{pair!r} is not OURS=THEIRS, such as user_id=author")
        if ours in fields:
            raise OptionError("field", f"{ours!r} is given twice, as {fields[ours]} and {theirs}")
        fields[ours] = theirs
    return fields


def _prompt_arguments(args: argparse.Namespace) -> dict[str, Any]:
    """What the options say of the prompt, as arguments of ``PromptTemplate.from_tokenizer``."""
    from perce.data.prompts import DEFAULT_DATE

    text = None
    if args.chat_template is not None:
        try:
            text = args.chat_template.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise OptionError("chat_template", f"cannot be read: {error}") from None
    try:
        kwargs = json.loads(args.chat_template_kwargs or "{}")
    except ValueError as error:
        raise OptionError("chat_template_kwargs", f"is not JSON: {error}") from None
    if not isinstance(kwargs, dict):
        raise OptionError("chat_template_kwargs", "is not a JSON object")
    return {
        "chat_template": text,
        "template_kwargs": kwargs,
        "date": args.date or DEFAULT_DATE,
    }


def _context(model: str) -> int | None:
    """How many tokens the model takes, if its configuration says so."""
    from transformers import AutoConfig

    for local in (True, False):  # the hub is asked only for what the cache lacks
        try:
            config = AutoConfig.from_pretrained(model, local_files_only=local)
        except (OSError, ValueError, KeyError):
            continue
        context = getattr(config.get_text_config(), "max_position_embeddings", None)
        return context if isinstance(context, int) else None
    return None  # a tokenizer alone is enough to prepare


@contextmanager
def _progress(split: str) -> Iterator[Progress | None]:
    """A running count on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress as RichProgress
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with RichProgress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"{split}: reading")
        yield lambda done: bar.update(task, description=f"{split}: {done} records")


def _print_counts(split: str, data: PreparedData) -> None:
    counts = data.meta["counts"]
    print(f"{split}: {counts['records']} records of {counts['users']} users in {data.path}")
    print(
        f"  tokens         {counts['tokens_prefix_with']} with profile, "
        f"{counts['tokens_prefix_without']} without, {counts['tokens_response']} response"
    )
    print(
        f"  profile items  {counts['items_kept']} kept, {counts['items_cut']} cut, "
        f"{counts['items_dropped']} dropped, {counts['items_not_retrieved']} not retrieved; "
        f"{counts['empty_profiles']} records without any"
    )
    print(
        f"  joint tokenisation of prompt and response would have differed in "
        f"{counts['joint_differing']} of the first {counts['joint_sample']} records"
    )
    if counts["bad_records"]:
        print(f"  bad records    {counts['bad_records']} skipped:")
        listed = data.meta["bad_records"]
        for message in listed:
            print(f"    {message}")
        if counts["bad_records"] > len(listed):
            print(f"    and {counts['bad_records'] - len(listed)} more")
