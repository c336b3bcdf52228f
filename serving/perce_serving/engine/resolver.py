"""From an adapter's name to the folder that vLLM loads.

vLLM asks here once for each name that it does not know yet; from then on it takes the name, and
reads the folder again whenever it has evicted the adapter, without asking.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from vllm.lora.request import LoRARequest
from vllm.lora.resolver import LoRAResolver

from perce_serving.engine.parts import Parts, parts
from perce_serving.errors import ServingError
from perce_serving.users import parse_adapter_name

_log = logging.getLogger(__name__)


class Resolver(LoRAResolver):  # type: ignore[misc]  # without vLLM, its base is unknown
    """Finds users' adapters in the store, and refuses those that may not be served.

    Args:
        get: gives this process's parts; called on first use, since vLLM makes a resolver in each
            of its processes, and only the frontend asks it.
    """

    def __init__(self, get: Callable[[], Parts] = parts) -> None:
        self._get = get

    async def resolve_lora(
        self,
        base_model_name: str,  # noqa: ARG002  (the validator knows the base model)
        lora_name: str,
    ) -> LoRARequest | None:
        """Return the adapter; None, which vLLM makes a 404 of, for one that may not be served."""
        parts = self._get()
        # On this thread: the gate belongs to the event loop.
        in_use = lora_name in parts.gate.in_use()
        try:
            folder = await asyncio.to_thread(find, parts, lora_name, in_use=in_use)
        except (ServingError, OSError) as error:
            _log.warning("%s is not served: %s", lora_name, error)
            return None
        # vLLM numbers it itself.
        return LoRARequest(lora_name, 1, str(folder))


def find(parts: Parts, name: str, *, in_use: bool) -> Path:
    """Return the folder of an adapter, all of it checked.

    Args:
        parts: store and validator.
        name: the adapter's.
        in_use: whether a request that was let in needs it: then it is served though it was retired
            meanwhile.

    Raises:
        ServingError: it is unknown, not served, or may not be.
        OSError: a file cannot be read.
    """
    user, version = parse_adapter_name(name)
    folder = parts.store.open(user, version, retired=in_use)
    parts.validator.check_version(folder, version)
    return folder
