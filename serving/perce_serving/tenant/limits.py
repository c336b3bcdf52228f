"""How much one user may ask for: sizes, and a rate by token bucket."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from perce_serving.refusal import refuse


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds on one user's requests.

    Raises:
        ValueError: a number is not over 0, or the burst is under one request.
    """

    body_bytes: int = 1 << 18
    """Most bytes of a body: some 64k tokens of text. Reading one takes the event loop, and with it
    all streams of the server, up to 0.2 s a MiB."""

    body_seconds: float = 30.0
    """Within which a body has to arrive."""

    bodies: int = 8
    """Most bodies of a user that are read at once: what one user holds in memory ahead of the gate
    is this many times ``body_bytes``."""

    answer_seconds: float = 300.0
    """Longest time of an answer, from the gate to its end: what is longer is cut off."""

    send_seconds: float = 30.0
    """Within which a caller has to take a piece of the answer from a server whose buffer is full;
    the answer of one who reads no further is cut off."""

    sequences: int = 8
    """Most sequences that one request generates: its prompts times ``n``."""

    tokens: int = 1024
    """Most tokens of an answer, and those of a chat that asks for no number. vLLM refuses what
    prompt and answer together have over the model's context, so this is to be well under that."""

    texts: int = 16
    """Most texts in ``stop``, and in ``bad_words``."""

    text_chars: int = 256
    """Most characters of each of those."""

    token_ids: int = 1024
    """Most tokens in ``logit_bias``, ``allowed_token_ids`` and ``stop_token_ids``, each."""

    schemas: bool = False
    """Whether tools and JSON schemas are taken. Each becomes a grammar, and nothing bounds how long
    compiling one takes: for callers who are trusted."""

    rate: float = 5.0
    """Requests per second that a user may keep up."""

    burst: float = 20.0
    """Requests that a user who was idle may send at once."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name == "schemas":
                continue
            if not 0 < value < math.inf:
                raise ValueError(f"{name} is {value}: a finite number over 0 is expected")
        if self.burst < 1:
            raise ValueError(f"burst is {self.burst}: with less than 1, no request would ever pass")


class RateLimit:
    """A token bucket per user: ``burst`` requests at once, ``rate`` per second in the long run.

    In any span of ``t`` seconds a user passes at most ``burst + rate * t`` times. Memory is bounded
    by the users of the last ``burst / rate`` seconds or so: a bucket that is full again is dropped.

    Args:
        limits: rate and burst.
        clock: gives seconds, never going back.
    """

    def __init__(self, limits: Limits, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = limits.rate
        self._burst = limits.burst
        self._clock = clock
        # When each user's bucket will be full: one number holds both level and time.
        self._full_at: dict[str, float] = {}
        self._sweep_at = 1024

    def take(self, user: str) -> None:
        """Count one request of ``user``.

        Raises:
            RequestError: the bucket is empty; it says when the next request passes.
        """
        now = self._clock()
        full_at = max(self._full_at.get(user, now), now) + 1 / self._rate
        wait = full_at - now - self._burst / self._rate
        # The slack is for rounding: a caller who waits as told is not refused for the last bit.
        if wait > 4 * math.ulp(full_at):
            raise refuse(
                "rate",
                f"over {self._rate:g} requests a second; the next passes in {wait:.2f} s",
                retry_after=wait,
            )
        self._full_at[user] = full_at
        if len(self._full_at) >= self._sweep_at:
            self._full_at = {name: at for name, at in self._full_at.items() if at > now}
            # Twice what remains, so that sweeping costs each request a constant share.
            self._sweep_at = max(1024, 2 * len(self._full_at))
