"""Metrics: names, and that nothing a caller chooses becomes a series."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from perce_serving.gate import Metrics
from perce_serving.refusal import CODES


def test_refusals_have_a_series_per_code_and_no_other() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    with pytest.raises(KeyError):
        metrics.refused("user-ann@0")
    metrics.refused("key")
    refusals = {
        sample.labels["code"]: sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == "perce_refusals_total"
    }
    assert refusals == {**dict.fromkeys(CODES, 0.0), "key": 1.0}


def test_no_metric_but_refusals_has_a_label() -> None:
    registry = CollectorRegistry()
    Metrics(registry)
    labels = {
        label
        for metric in registry.collect()
        for sample in metric.samples
        for label in sample.labels
    }
    assert labels == {"code", "le"}
