"""vLLM's server, started as its own command starts it.

By ``vllm.entrypoints.launchers.api_server.entry`` of 0.32; 0.33 has moved the parser and no more.
"""

from __future__ import annotations

import argparse

import uvloop
from vllm.entrypoints.launchers.api_server.entry import run_server
from vllm.logger import configure_logging_from_args
from vllm.lora.resolver import LoRAResolverRegistry
from vllm.plugins import load_general_plugins
from vllm.utils.argparse_utils import FlexibleArgumentParser

from perce_serving.engine.plugin import RESOLVER
from perce_serving.errors import StartError

try:
    from vllm.entrypoints.common.cli_args import make_arg_parser, validate_parsed_serve_args
    from vllm.entrypoints.common.startup import cli_env_setup
except ImportError:  # 0.32
    from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
    from vllm.entrypoints.serve.utils.api_utils import cli_env_setup


def parse(words: list[str]) -> argparse.Namespace:
    """Read a command line as vLLM does; exits with its message where it makes no sense."""
    cli_env_setup()
    parser = make_arg_parser(FlexibleArgumentParser(prog="perce-serve ... --"))
    parsed: argparse.Namespace = parser.parse_args(words)
    configure_logging_from_args(parsed)
    validate_parsed_serve_args(parsed)
    return parsed


def run(parsed: argparse.Namespace) -> None:
    """Serve until a signal ends it.

    Raises:
        StartError: vLLM has loaded another resolver, which would serve what is not in the store, or
            not loaded this project's.
    """
    load_general_plugins()
    resolvers = set(LoRAResolverRegistry.get_supported_resolvers())
    if RESOLVER not in resolvers:
        raise StartError("vLLM does not find the plugin: install perce-serving, as by pip")
    if resolvers != {RESOLVER}:
        others = ", ".join(sorted(resolvers - {RESOLVER}))
        raise StartError(f"vLLM has loaded another resolver of adapters ({others}); turn it off")
    uvloop.run(run_server(parsed))
