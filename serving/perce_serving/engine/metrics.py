"""What the server tells Prometheus of its adapters; no label carries a user or an adapter."""

from __future__ import annotations

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

RESULTS = ("loaded", "refused")
"""How the first loading of an adapter can end."""

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class AdapterMetrics:
    """One server's figures.

    Args:
        registry: where they are shown; vLLM's ``/metrics`` shows the default.

    Raises:
        ValueError: the registry has them already.
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.resident = Gauge(
            "perce_adapters_resident",
            "Adapters that the engine holds, as last looked at.",
            registry=registry,
        )
        self.evictions = Counter(
            "perce_adapter_evictions",
            "Adapters that the engine held at one look and, unasked, no more at the next.",
            registry=registry,
        )
        self.loads = Counter(
            "perce_adapter_loads",
            "Adapters asked for that the frontend did not know: by result.",
            ["result"],
            registry=registry,
        )
        self.load_seconds = Histogram(
            "perce_adapter_load_seconds",
            "Time to check and load an adapter that the frontend did not know.",
            registry=registry,
            buckets=_SECONDS,
        )
        self.collected = Counter(
            "perce_adapters_collected",
            "Withdrawn versions whose files were deleted.",
            registry=registry,
        )
        for result in RESULTS:  # shown at 0, so that a first one is a rise
            self.loads.labels(result)
