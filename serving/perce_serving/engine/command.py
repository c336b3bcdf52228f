"""``perce-serve``: vLLM's OpenAI-compatible server in this process, with one adapter a user."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

from perce_serving.engine import options, prompts, versions
from perce_serving.engine.middleware import PATH
from perce_serving.engine.parts import parts
from perce_serving.engine.plugin import RESOLVER
from perce_serving.errors import ServingError, StartError

# What would serve past the tenant layer, or in ways that gate and collection know nothing of: by
# vLLM's name, the values that are taken, and why no other.
_FIXED: Mapping[str, tuple[tuple[Any, ...], str]] = {
    "api_server_count": ((None, 1), "gate and collection know one frontend process"),
    "data_parallel_size": ((1,), "collection knows one engine"),
    "headless": ((False,), "there would be no frontend"),
    "grpc": ((False,), "the tenant layer speaks HTTP"),
    "lora_modules": ((None,), "adapters come from the store"),
    "default_mm_loras": ((None,), "adapters come from the store"),
    "api_key": ((None,), "keys are those of --keys"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until a signal ends it.

    Returns:
        0; 2 after a one-line error; 130 after Ctrl-C.
    """
    args, rest = options.parse(sys.argv[1:] if argv is None else argv)
    try:
        _serve(args, rest)
    except (ServingError, OSError) as error:
        print(f"perce-serve: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _serve(args: argparse.Namespace, rest: list[str]) -> None:
    settings = options.settings_of(args)
    os.environ.update(settings.to_environment())
    # What can be wrong with them is said before vLLM is imported, which takes long.
    parts()
    prepare(os.environ)
    try:
        from vllm.version import __version__

        from perce_serving.engine import launch
    except ImportError as error:
        raise StartError(
            f"vLLM cannot be imported ({error}); install perce-serving[vllm], or for a CPU "
            "what `make serving` does"
        ) from None
    remark = versions.remark(__version__)
    if remark is not None:
        print(f"perce-serve: {remark}", file=sys.stderr)
    ours = options.engine_options(args, settings)
    parsed = launch.parse([*options.spelled(ours), *rest, "--middleware", PATH])
    check(vars(parsed), ours)
    remark = prompts.settle(parsed, parts())
    if remark is not None:
        print(f"perce-serve: {remark}", file=sys.stderr)
    launch.run(parsed)


def prepare(environment: MutableMapping[str, str]) -> None:
    """Set what vLLM reads from its environment, and refuse what would go past the tenant layer.

    Raises:
        StartError: a variable is set that may not be.
    """
    if environment.get("VLLM_API_KEY"):
        raise StartError("VLLM_API_KEY is set: keys are those of --keys; unset it")
    # Without it vLLM asks no resolver. The routes that it opens are none of the tenant layer's.
    environment["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "1"
    # With it vLLM would serve the base model under any name.
    environment.pop("VLLM_SKIP_MODEL_NAME_VALIDATION", None)
    plugins = environment.get("VLLM_PLUGINS")
    if plugins is not None and RESOLVER not in plugins.split(","):
        environment["VLLM_PLUGINS"] = f"{plugins},{RESOLVER}"


def check(parsed: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Refuse options of vLLM's that this command sets, or that go past the tenant layer.

    Args:
        parsed: what vLLM's parser made of the whole command line.
        ours: what was to come out for the options that are this command's to set.

    Raises:
        StartError: another value did, or an option is set that may not be.
    """
    for name, value in ours.items():
        if parsed[name] != value:
            raise StartError(
                f"{_option(name)} is an option of perce-serve itself: give it before --"
            )
    for name, (allowed, why) in _FIXED.items():
        if parsed.get(name) not in allowed:
            raise StartError(f"{_option(name)} {parsed[name]} is not offered: {why}")
    if parsed["middleware"][-1:] != [PATH]:
        raise StartError("--middleware: the tenant layer has to be the last one named")


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
