"""Fixtures of the data room: tokenizers, tiny and real."""

from __future__ import annotations

from typing import Any

import pytest
from sample_tokenizers import REAL, make_tiny_tokenizer


@pytest.fixture(scope="session")
def tiny_tokenizer() -> Any:
    return make_tiny_tokenizer()


@pytest.fixture(scope="session", params=list(REAL))
def real_tokenizer(request: pytest.FixtureRequest) -> Any:
    """Each real tokenizer in turn."""
    return REAL[request.param]()
