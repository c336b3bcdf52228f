"""What the tenant layer adds to a request: timed in this process, around what answers at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from perce_serving.gate import Gate, GateConfig, Metrics
from perce_serving.store import LocalStore
from perce_serving.tenant.keys import KeyFile
from perce_serving.tenant.limits import Limits, RateLimit
from perce_serving.tenant.middleware import TenantMiddleware
from perce_serving.tenant.models import Models
from prometheus_client import CollectorRegistry

from serving_load import percentile


def tenant_cost(
    store: LocalStore, keys: Path, texts: Sequence[str], *, size: int, requests: int
) -> tuple[float, float]:
    """Seconds that the layer, with real keys, store and gate, adds to a chat request.

    Args:
        store: of the users' adapters.
        keys: the file of keys.
        texts: the users' keys, who ask in turn.
        size: bytes of the one message.
        requests: with the layer, and as many without.

    Returns:
        Of the times with it, the median and the one that 99 in 100 are within, less the median
        without.
    """
    body = b'{"model": "me", "messages": [{"role": "user", "content": "%s"}]}' % (b"x" * size)
    alone = asyncio.run(_times(_answer, body, texts, requests))
    through = asyncio.run(_times(_layer(store, keys), body, texts, requests))
    median, most = (percentile(through, share) - percentile(alone, 0.5) for share in (0.5, 0.99))
    return median, most


def _layer(store: LocalStore, keys: Path) -> TenantMiddleware:
    limits = Limits(rate=1e9, burst=1e9)
    metrics = Metrics(CollectorRegistry())
    return TenantMiddleware(
        _answer,
        identity=KeyFile(keys),
        models=Models(store, base="base"),
        gate=Gate(GateConfig(max_adapters=16), metrics),
        limits=limits,
        rate_limit=RateLimit(limits),
        secret=bytes(32),
        metrics=metrics,
    )


async def _answer(_: Any, receive: Any, send: Any) -> None:
    """Read the body and answer at once."""
    while (await receive())["more_body"]:
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def _times(app: Any, body: bytes, texts: Sequence[str], requests: int) -> list[float]:
    """Seconds of each request."""
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        if "status" in message:
            statuses.append(message["status"])

    times = []
    for number in range(requests):
        headers = [
            (b"authorization", b"Bearer " + texts[number % len(texts)].encode()),
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
        ]
        path = "/v1/chat/completions"
        scope = {"type": "http", "method": "POST", "path": path, "headers": headers}
        begin = time.perf_counter()
        await app(scope, receive, send)
        times.append(time.perf_counter() - begin)
    if statuses != requests * [200]:
        raise RuntimeError(f"answers with {sorted(set(statuses))}, not all with 200")
    return times
