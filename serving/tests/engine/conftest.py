"""One server for all tests that need one: it takes a minute to start."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """``engine.site_of_tests.Site``, which needs torch."""
    from engine.site_of_tests import serving

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with serving(tmp_path_factory.mktemp("site"), port) as site:
        yield site
