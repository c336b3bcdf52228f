"""vLLM's frontend and engine as far as adapters go, by the sources of 0.32.

The engine dies, as vLLM's does, when it has to load an adapter whose folder is gone.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class DeadError(Exception):
    """The engine is gone, and the server with it."""


@dataclass
class FakeRequest:
    """vLLM's ``LoRARequest``."""

    lora_name: str
    lora_int_id: int
    lora_path: Path


class FakeEngine:
    """Keeps the adapters used last, and loads others again when they are used."""

    def __init__(self, capacity: int = 2) -> None:
        self.capacity = capacity
        self.held: OrderedDict[int, FakeRequest] = OrderedDict()
        self.pause: asyncio.Event | None = None
        self.waiting = 0

    def use(self, request: FakeRequest) -> None:
        if request.lora_int_id not in self.held:
            if not request.lora_path.is_dir():
                raise DeadError(request.lora_name)
            if len(self.held) == self.capacity:
                self.held.popitem(last=False)
            self.held[request.lora_int_id] = request
        self.held.move_to_end(request.lora_int_id)

    async def add_lora(self, request: FakeRequest) -> bool:
        if self.pause is not None:
            self.waiting += 1
            await self.pause.wait()
        self.use(request)
        return True

    async def list_loras(self) -> set[int]:
        await asyncio.sleep(0)
        return set(self.held)

    async def remove_lora(self, lora_id: int) -> bool:
        await asyncio.sleep(0)
        return self.held.pop(lora_id, None) is not None


class FakeModels:
    """vLLM's ``OpenAIServingModels``; ``find`` stands for the resolver."""

    def __init__(self, engine: FakeEngine, find: Callable[[str], Path | None]) -> None:
        self.engine_client: Any = engine
        self.lora_requests: dict[str, Any] = {}
        self.lora_resolver_lock: Any = defaultdict(asyncio.Lock)
        self.numbers = 0
        self._find = find

    async def resolve_lora(self, lora_name: str) -> Any:
        async with self.lora_resolver_lock[lora_name]:
            if lora_name in self.lora_requests:
                return self.lora_requests[lora_name]
            self.numbers += 1
            number = self.numbers
            path = self._find(lora_name)
            if path is None:
                return "404"
            request = FakeRequest(lora_name, number, path)
            await self.engine_client.add_lora(request)
            self.lora_requests[lora_name] = request
            return request
