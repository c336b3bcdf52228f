"""The options of ``perce-serve``, and the settings they make."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, NoReturn

import perce_serving
from perce_serving.engine.settings import Settings
from perce_serving.errors import StartError
from perce_serving.gate import GateConfig
from perce_serving.tenant.limits import Limits
from perce_serving.users import check_user
from perce_serving.validate import DEFAULT_RANK, ENGINE_RANKS

_DESCRIPTION = """\
Serve one adapter a user by vLLM's OpenAI-compatible server:

  perce-serve --model models/SmolLM2-135M --store adapters --keys keys.json

A user's key (perce-adapters keys create) reaches the user's own adapters, model "me" the current
one. An operator's key reaches /health, /load, /metrics and /version. Options after -- go to vLLM.
One frontend process on one engine: --api-server-count and --data-parallel-size are 1."""


class _Parser(argparse.ArgumentParser):
    """Reports one line, where argparse would print the whole usage before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def build_parser() -> argparse.ArgumentParser:
    """Build the command's parser. Names are vLLM's where vLLM has the option."""
    parser = _Parser(
        prog="perce-serve",
        usage="perce-serve --model FOLDER --store FOLDER --keys FILE [options] [-- vLLM options]",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    version = f"perce-serve {perce_serving.__version__}"
    parser.add_argument("--version", action="version", version=version)
    _add(parser, "--model", type=Path, required=True, help="folder of the base model")
    _add(
        parser,
        "--model-name",
        metavar="NAME",
        help="what adapters call that model (default: its folder's name)",
    )
    _add(parser, "--store", type=Path, required=True, help="folder of the store")
    _add(parser, "--keys", type=Path, required=True, help="file of keys")
    _add(
        parser,
        "--shared",
        metavar="USER",
        help="whose adapter those get who have none (default: nobody's)",
    )
    _add(parser, "--host", default="127.0.0.1", help="address (default: 127.0.0.1)")
    _add(parser, "--port", type=int, default=8000, help="port (default: 8000)")
    _add(parser, "--max-loras", type=int, default=4, help="adapters in one batch (default: 4)")
    _add(
        parser,
        "--max-lora-rank",
        type=int,
        default=DEFAULT_RANK,
        help=f"highest rank of an adapter, rounded up to one of vLLM's (default: {DEFAULT_RANK})",
    )
    _add(parser, "--max-model-len", type=int, help="context in tokens (default: vLLM's)")
    _add(parser, "--dtype", help="of the model (default: vLLM's)")
    _add(
        parser,
        "--collect-seconds",
        type=float,
        default=30.0,
        help="seconds between two looks for withdrawn versions (default: 30)",
    )
    _add_fields(parser, "--gate", GateConfig)
    _add_fields(parser, "--limit", Limits)
    return parser


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Read a command line: this command's options, and those after ``--``, which are vLLM's.

    Exits with one line where it makes no sense.
    """
    # By hand: what argparse does with "--" differs between releases of Python.
    end = argv.index("--") if "--" in argv else len(argv)
    return build_parser().parse_args(argv[:end]), list(argv[end + 1 :])


def settings_of(args: argparse.Namespace) -> Settings:
    """The settings that a command line makes.

    Raises:
        ServingError: an option is out of range, or the model is no folder.
    """
    if not args.model.is_dir():
        raise StartError(
            f"--model {args.model}: not a folder on this machine; "
            "give one that holds the model as transformers saves it"
        )
    model = args.model.absolute()
    return Settings(
        store=args.store.absolute(),
        keys=args.keys.absolute(),
        model=model,
        model_name=args.model_name or str(model),
        shared=None if args.shared is None else check_user(args.shared),
        max_loras=_at_least_one("--max-loras", args.max_loras),
        max_rank=_engine_rank(args.max_lora_rank),
        collect_seconds=args.collect_seconds,
        gate=dict(args.gate),
        limits=dict(args.limit),
    )


def engine_options(args: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Those of vLLM's options that are this command's to set, by vLLM's names for their values."""
    return {
        "model": str(settings.model),
        "served_model_name": [settings.served_name],
        "host": args.host,
        "port": args.port,
        "enable_lora": True,
        "max_loras": settings.max_loras,
        "max_lora_rank": settings.max_rank,
        # Templates get texts, as in training, not lists of parts.
        "chat_template_content_format": "string",
        **{
            name: value
            for name in ("max_model_len", "dtype")
            if (value := getattr(args, name)) is not None
        },
    }


def spelled(values: Mapping[str, Any]) -> list[str]:
    """What ``engine_options`` gave, as a command line."""
    words: list[str] = []
    for name, value in values.items():
        words.append("--" + name.replace("_", "-"))
        if value is not True:
            words += map(str, value if isinstance(value, list) else [value])
    return words


def _add(parser: argparse.ArgumentParser, name: str, **kwargs: Any) -> None:
    """Add an option that may be typed with dashes or, as PEFT has them, underscores."""
    spelling = "--" + name.removeprefix("--").replace("-", "_")
    parser.add_argument(name, *([spelling] if spelling != name else []), **kwargs)


def _add_fields(parser: argparse.ArgumentParser, name: str, config: type[Any]) -> None:
    """Add an option that sets a configuration's fields, one each time that it is given."""
    types = {
        field.name: type(field.default) for field in fields(config) if field.default is not MISSING
    }

    def assignment(text: str) -> tuple[str, Any]:
        key, equals, value = text.partition("=")
        if not equals or key not in types:
            raise argparse.ArgumentTypeError(f"{text!r} is none of {_listed(types)}")
        try:
            return key, _value(types[key], value)
        except (KeyError, ValueError):
            expected = types[key].__name__
            raise argparse.ArgumentTypeError(f"{text!r}: {expected} is expected") from None

    _add(
        parser,
        name,
        type=assignment,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help=f"{_listed(types)}; may be given several times",
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"{name}=" for name in names)


def _value(kind: type[Any], text: str) -> Any:
    """Read a field's value; a switch is ``true`` or ``false``."""
    return {"true": True, "false": False}[text] if kind is bool else kind(text)


def _at_least_one(name: str, value: int) -> int:
    if value < 1:
        raise StartError(f"{name} {value}: 1 is the least")
    return value


def _engine_rank(rank: int) -> int:
    """The smallest rank that vLLM takes and that adapters of ``rank`` fit in."""
    for most in ENGINE_RANKS if rank >= 1 else ():
        if rank <= most:
            return most
    raise StartError(f"--max-lora-rank {rank}: from 1 to {ENGINE_RANKS[-1]} is possible")
