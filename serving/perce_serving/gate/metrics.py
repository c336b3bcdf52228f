"""What the gate and the tenant layer tell Prometheus.

No label carries a user, an adapter, a path or anything else that a caller chooses: one label has a
value per refusal code, the other metrics have none, so the number of series never grows.
"""

from __future__ import annotations

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from perce_serving.refusal import CODES

_SECONDS = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class Metrics:
    """One server's figures; those of several processes are added up by prometheus-client.

    Args:
        registry: where they are shown; vLLM's ``/metrics`` shows the default.

    Raises:
        ValueError: the registry has them already.
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.hot = Gauge(
            "perce_gate_hot_adapters",
            "Adapters with a turn: those with requests in the engine.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.in_flight = Gauge(
            "perce_gate_requests_in_flight",
            "Requests that passed the gate and are not over.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.waiting = Gauge(
            "perce_gate_requests_waiting",
            "Requests that wait for a turn or for their user's cap.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.wait = Histogram(
            "perce_gate_wait_seconds",
            "Time from a request's entry to its start, of those that started.",
            registry=registry,
            buckets=_SECONDS,
        )
        self.abandoned = Counter(
            "perce_gate_abandoned",
            "Requests whose caller went away while they waited.",
            registry=registry,
        )
        self.drains = Counter(
            "perce_gate_drains",
            "Turns that were ended because another adapter had lost patience.",
            registry=registry,
        )
        self._refusals = Counter(
            "perce_refusals",
            "Requests refused, by reason: before they reached the model, but for those too long.",
            ["code"],
            registry=registry,
        )
        for code in CODES:  # shown at 0, so that a first refusal is a rise
            self._refusals.labels(code)

    def refused(self, code: str) -> None:
        """Count a refusal.

        Raises:
            KeyError: ``code`` is none of ``perce_serving.refusal.CODES``, which bound the label.
        """
        CODES[code]
        self._refusals.labels(code).inc()
