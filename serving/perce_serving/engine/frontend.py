"""vLLM's frontend and engine, as far as adapters come and go in them.

By vLLM 0.32's ``OpenAIServingModels``: a name that it does not know is resolved, given a number and
loaded; from then on ``lora_requests`` has it, and nothing is asked any more. The engine loads what
it has evicted again, by itself, from the same folder.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Protocol
from weakref import WeakValueDictionary

from perce_serving.engine.metrics import AdapterMetrics


class Request(Protocol):
    """What is used of vLLM's ``LoRARequest``."""

    lora_name: str
    lora_int_id: int


class Engine(Protocol):
    """What is used of vLLM's ``AsyncLLM``."""

    async def list_loras(self) -> set[int]:
        """Numbers of the adapters that the engine holds."""
        ...

    async def remove_lora(self, lora_id: int) -> bool:
        """Have the engine forget one."""
        ...


class ServingModels(Protocol):
    """What is used of vLLM's ``OpenAIServingModels``."""

    engine_client: Engine
    lora_requests: dict[str, Any]
    lora_resolver_lock: Any
    resolve_lora: Callable[[str], Any]


class Locks(WeakValueDictionary[str, asyncio.Lock]):
    """A lock a name, for as long as somebody holds it or waits for it.

    vLLM keeps one for every name it was ever asked for.
    """

    def __getitem__(self, name: str) -> asyncio.Lock:
        """Return the name's lock, a new one if there is none."""
        lock: asyncio.Lock = self.setdefault(name, asyncio.Lock())
        return lock


class Frontend:
    """Watches and steers which adapters vLLM has. One a server, made before its first request.

    Args:
        models: vLLM's; its method ``resolve_lora`` is replaced by one that keeps account.
        metrics: where loads, evictions and residents are counted.
        clock: gives seconds, never going back.
    """

    def __init__(
        self,
        models: ServingModels,
        metrics: AdapterMetrics,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._models = models
        self._metrics = metrics
        self._clock = clock
        self._resolve = models.resolve_lora
        self._loads: dict[str, asyncio.Task[Any]] = {}
        # By the engine's number, of all that it may hold.
        self._numbered: dict[int, str] = {}
        self._resident: frozenset[int] = frozenset()
        models.resolve_lora = self._load
        models.lora_resolver_lock = Locks()

    def known(self) -> frozenset[str]:
        """Names that the frontend takes without asking the store."""
        return frozenset(self._models.lora_requests)

    def loading(self) -> frozenset[str]:
        """Names that are being resolved or loaded, though their callers may have gone away."""
        return frozenset(self._loads)

    async def resident(self) -> dict[int, str]:
        """What the engine holds: names by number."""
        loaded = frozenset(await self._models.engine_client.list_loras())
        # A request under way may have an adapter loaded again: its number stays known until the
        # name is dropped and the engine is seen without it.
        known = {request.lora_int_id for request in self._models.lora_requests.values()}
        self._metrics.resident.set(len(loaded))
        self._metrics.evictions.inc(len(self._resident - loaded))
        self._resident = loaded
        self._numbered = {
            number: name
            for number, name in self._numbered.items()
            if number in loaded or number in known
        }
        return {number: self._numbered[number] for number in loaded if number in self._numbered}

    def drop(self, name: str) -> None:
        """Have the frontend ask the store again when next it is asked for this name."""
        del self._models.lora_requests[name]

    async def remove(self, number: int) -> None:
        """Have the engine forget an adapter, by its number."""
        await self._models.engine_client.remove_lora(number)
        self._resident -= {number}

    async def _load(self, name: str) -> Any:
        """Resolve and load an adapter, in vLLM's place, to its end.

        When its caller goes away vLLM 0.32 lets go of the request, but not of the loading, of which
        nobody then knows. So it is a task of its own here, and all who ask meanwhile share it.
        """
        task = self._loads.get(name)
        if task is None:
            task = self._loads[name] = asyncio.create_task(self._load_once(name))
        return await asyncio.shield(task)

    async def _load_once(self, name: str) -> Any:
        began = self._clock()
        try:
            result = await self._resolve(name)
        finally:
            del self._loads[name]
        # Otherwise it is vLLM's ErrorResponse, the caller's 404.
        request = self._models.lora_requests.get(name)
        if request is None:
            self._metrics.loads.labels("refused").inc()
        else:
            self._metrics.loads.labels("loaded").inc()
            self._metrics.load_seconds.observe(self._clock() - began)
            self._numbered[request.lora_int_id] = name
        return result
