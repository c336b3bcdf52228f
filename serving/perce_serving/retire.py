"""Which versions may go, and in which order, so that nothing asks for what is gone.

vLLM 0.32 dies, with all it serves, when an adapter that it has evicted is asked for again and its
folder is gone. A version can be asked for again as long as

1. the store serves it: it is somebody's current version, or not retired;
2. a request that named it while it was served waits or runs;
3. the frontend knows its name, and so takes requests for it without asking the store;
4. the engine knows it, and so may load it again after an eviction.

So collection goes up these steps one by one, each on evidence that the one before is done, not on
the word that it was asked for. Nothing here acts: a view of the server goes in, what may be done
next comes out. What the store knows no more at all, as after an erasure, leaves frontend and engine
by the same steps.

A plan is for the moment of its view: it is acted upon before the event loop goes on, since
afterwards a request may have come. Another process may still publish a version again in between;
the store, which refuses to delete what it serves, has the last word, and its refusal is no fault.

Where several servers share a store, ``in_use``, ``frontend`` and ``engine`` are those of all of
them together: what one deletes, another could load again.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class View:
    """What a server knows of its adapters, by name, at one moment of its event loop."""

    retired: Set[str]
    """Versions that the store still keeps but serves no more."""

    served: Set[str]
    """Versions that the store serves; a name that is in both sets counts as served."""

    in_use: Set[str]
    """Versions that a waiting or running request needs (``perce_serving.gate.Gate.in_use``)."""

    frontend: Set[str]
    """Names of users' adapters, and of nothing else, that the frontend takes without asking."""

    engine: Set[str]
    """Those that any engine process has loaded, or keeps to load again."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What may be done now, in any order. No version is in two of them."""

    drop: frozenset[str]
    """To be dropped from the frontend."""

    remove: frozenset[str]
    """To be removed from the engine."""

    delete: frozenset[str]
    """Files to be deleted from the store."""


def plan(view: View) -> Plan:
    """Return the next step of every version that is no longer served and can take one.

    With no requests left for a version, three plans carried out in turn delete it.
    """
    free = (frozenset(view.retired) | view.frontend | view.engine) - view.served - view.in_use
    known = free & view.frontend
    loaded = (free - known) & view.engine
    return Plan(drop=known, remove=loaded, delete=free - known - loaded)
