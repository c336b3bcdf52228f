"""What a server is made of, apart from vLLM: one set a process.

vLLM makes the resolver and the middleware apart from each other; both are about the same store and
the same gate.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from perce_serving.engine.settings import Settings
from perce_serving.errors import StartError
from perce_serving.gate import Gate, Metrics
from perce_serving.store import AdapterStore, LocalStore, ProfileStore
from perce_serving.tenant.identity import Identity
from perce_serving.tenant.keys import KeyFile
from perce_serving.validate import BaseModel, Validator


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The parts of one server."""

    settings: Settings
    """What it was told."""

    store: AdapterStore
    """Where the adapters are."""

    profiles: ProfileStore
    """Where the profiles are."""

    validator: Validator
    """Says which of them may be served."""

    identity: Identity
    """Tells who is calling."""

    gate: Gate
    """Tells when a request starts."""

    metrics: Metrics
    """What gate and tenant layer tell Prometheus."""


def assemble(settings: Settings) -> Parts:
    """Make a server's parts, having looked at all that it needs on the disk.

    Raises:
        ServingError: there is no store, no file of keys, or no base model that can be read.
        OSError: a file cannot be read.
    """
    store = _store(settings.store)
    return Parts(
        settings=settings,
        store=store,
        profiles=store.profiles,
        validator=Validator(
            BaseModel.read(settings.model, name=settings.model_name), max_rank=settings.max_rank
        ),
        identity=_keys(settings.keys),
        gate=Gate(settings.gate_config(), metrics := Metrics()),
        metrics=metrics,
    )


@cache
def parts() -> Parts:
    """This process's parts, by the settings in its environment.

    Raises:
        ServingError: as ``assemble``.
        OSError: as ``assemble``.
    """
    return assemble(Settings.from_environment())


def _store(folder: Path) -> LocalStore:
    if not folder.is_dir():
        raise StartError(f"{folder}: there is no store of adapters; publish into it first")
    store = LocalStore(folder)
    store.check_writable()  # withdrawn versions are deleted by the server
    return store


def _keys(path: Path) -> KeyFile:
    if not path.is_file():
        raise StartError(f"{path}: there is no file of keys; perce-adapters keys create makes it")
    keys = KeyFile(path)
    keys.entries()  # that it can be read is known before the first request
    return keys
