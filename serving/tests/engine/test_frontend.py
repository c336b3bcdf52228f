"""The account of vLLM's adapters: loads, evictions, callers who go away while one is loaded."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path

from prometheus_client import CollectorRegistry

from engine.fake_vllm import FakeEngine, FakeModels
from perce_serving.engine.frontend import Frontend
from perce_serving.engine.metrics import AdapterMetrics


class Bench:
    """A frontend over fakes, with adapters that are found by the first letter of their name."""

    def __init__(self, tmp_path: Path, *, capacity: int = 2) -> None:
        self.engine = FakeEngine(capacity)
        self.models = FakeModels(
            self.engine, lambda name: tmp_path if name.startswith("user-") else None
        )
        self.registry = CollectorRegistry()
        self.frontend = Frontend(self.models, AdapterMetrics(self.registry))

    def counted(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)


def test_unknown_names_leave_nothing_behind(tmp_path: Path) -> None:
    async def main() -> None:
        bench = Bench(tmp_path)
        for number in range(50):
            assert await bench.models.resolve_lora(f"nobody-{number}") == "404"
        gc.collect()
        assert not bench.models.lora_resolver_lock
        assert not bench.models.lora_requests
        assert not bench.frontend.loading()
        assert bench.counted("perce_adapter_loads_total", result="refused") == 50

    asyncio.run(main())


def test_a_lock_is_one_and_the_same_while_it_is_held(tmp_path: Path) -> None:
    async def main() -> None:
        locks = Bench(tmp_path).models.lora_resolver_lock
        order = []

        async def hold(word: str) -> None:
            async with locks["name"]:
                order.append(word)
                await asyncio.sleep(0)
                order.append(word)

        await asyncio.gather(hold("one"), hold("two"))
        assert order in (["one", "one", "two", "two"], ["two", "two", "one", "one"])

    asyncio.run(main())


def test_those_who_ask_together_share_one_load(tmp_path: Path) -> None:
    async def main() -> None:
        bench = Bench(tmp_path)
        bench.engine.pause = asyncio.Event()
        asking = [asyncio.create_task(bench.models.resolve_lora("user-a")) for _ in range(3)]
        await asyncio.sleep(0)
        assert bench.frontend.loading() == {"user-a"}
        bench.engine.pause.set()
        assert len({id(request) for request in await asyncio.gather(*asking)}) == 1
        assert bench.models.numbers == 1
        assert bench.counted("perce_adapter_loads_total", result="loaded") == 1
        assert bench.counted("perce_adapter_load_seconds_count") == 1

    asyncio.run(main())


def test_a_load_whose_caller_goes_away_is_still_accounted_for(tmp_path: Path) -> None:
    async def main() -> None:
        bench = Bench(tmp_path)
        bench.engine.pause = asyncio.Event()
        asking = asyncio.create_task(bench.models.resolve_lora("user-a"))
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait([asking])
        assert asking.cancelled()
        assert bench.frontend.loading() == {"user-a"}
        bench.engine.pause.set()
        while bench.frontend.loading():
            await asyncio.sleep(0)
        assert bench.frontend.known() == {"user-a"}
        assert set((await bench.frontend.resident()).values()) == {"user-a"}

    asyncio.run(main())


def test_residents_and_evictions_are_counted_but_not_removals(tmp_path: Path) -> None:
    async def main() -> None:
        bench = Bench(tmp_path, capacity=2)
        for name in ("user-a", "user-b"):
            await bench.models.resolve_lora(name)
        assert sorted((await bench.frontend.resident()).values()) == ["user-a", "user-b"]
        await bench.models.resolve_lora("user-c")
        held = await bench.frontend.resident()
        assert sorted(held.values()) == ["user-b", "user-c"]
        assert bench.counted("perce_adapters_resident") == 2
        assert bench.counted("perce_adapter_evictions_total") == 1
        bench.frontend.drop("user-b")
        await bench.frontend.remove(next(number for number in held if held[number] == "user-b"))
        assert sorted((await bench.frontend.resident()).values()) == ["user-c"]
        assert bench.counted("perce_adapter_evictions_total") == 1

    asyncio.run(main())


def test_an_adapter_that_the_engine_loads_again_is_known_by_name(tmp_path: Path) -> None:
    async def main() -> None:
        bench = Bench(tmp_path, capacity=1)
        request = await bench.models.resolve_lora("user-a")
        await bench.models.resolve_lora("user-b")
        assert set((await bench.frontend.resident()).values()) == {"user-b"}
        bench.engine.use(request)
        assert set((await bench.frontend.resident()).values()) == {"user-a"}

    asyncio.run(main())
