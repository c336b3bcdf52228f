"""What vLLM loads in each of its processes, by the entry point ``vllm.general_plugins``.

Where ``perce-serve`` did not start the process, nothing is changed: vLLM may be used for other
things in an environment that this package is installed in.
"""

from __future__ import annotations

import logging
import os

from perce_serving.engine import cpu_index
from perce_serving.engine.settings import VARIABLE

RESOLVER = "perce"
"""Name under which vLLM knows the resolver."""

_log = logging.getLogger(__name__)


def register() -> None:
    """Register the resolver, and mend what this build of vLLM needs mended; twice is as once."""
    if VARIABLE not in os.environ:
        return
    from vllm.lora.resolver import LoRAResolverRegistry
    from vllm.platforms import current_platform
    from vllm.version import __version__

    from perce_serving.engine.resolver import Resolver

    if RESOLVER not in LoRAResolverRegistry.get_supported_resolvers():
        LoRAResolverRegistry.register_resolver(RESOLVER, Resolver())
    if cpu_index.is_affected(__version__, cpu=current_platform.is_cpu()):
        cpu_index.apply()
        _log.info("vLLM %s on a CPU: rows of the base model are mended", __version__)
