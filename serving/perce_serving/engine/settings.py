"""What ``perce-serve`` was told, as vLLM's processes get it.

vLLM makes the plugin and the middleware itself and hands them nothing, so the settings travel in
one environment variable. They hold no secret: the file of keys is named, not quoted.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from perce_serving.errors import StartError
from perce_serving.gate import GateConfig
from perce_serving.tenant.limits import Limits
from perce_serving.validate.base import short_name

VARIABLE = "PERCE_SERVING_SETTINGS"
"""The environment variable."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One server's settings.

    Raises:
        StartError: a limit or an option of the gate is out of range.
    """

    store: Path
    """Folder of the store, absolute."""

    keys: Path
    """File of keys, absolute."""

    model: Path
    """Folder of the base model, absolute."""

    model_name: str
    """What adapters call the base model."""

    shared: str | None = None
    """User whose adapter is for all who have none."""

    max_loras: int = 4
    """Adapters in one batch of the engine, and turns at the gate."""

    max_rank: int = 64
    """Highest rank of an adapter: one of ``perce_serving.validate.ENGINE_RANKS``."""

    collect_seconds: float = 30.0
    """Seconds between two looks at what may be collected."""

    gate: Mapping[str, Any] = field(default_factory=dict)
    """Fields of ``GateConfig`` that are not to have their defaults."""

    limits: Mapping[str, Any] = field(default_factory=dict)
    """Fields of ``Limits`` that are not to have their defaults."""

    def __post_init__(self) -> None:
        if not self.collect_seconds > 0:
            raise StartError(f"collect_seconds is {self.collect_seconds}: give seconds over 0")
        try:
            self.gate_config()
            Limits(**self.limits)
        except ValueError as error:
            raise StartError(str(error)) from None

    @property
    def served_name(self) -> str:
        """Under what name vLLM serves the base model; users never see it."""
        return short_name(self.model_name)

    def gate_config(self) -> GateConfig:
        """How many may run and wait: there are as many turns as the engine has slots."""
        return GateConfig(**{"max_adapters": self.max_loras, **self.gate})

    def limits_for(self, context: int) -> Limits:
        """How much a user may ask for, of a model with a context of ``context`` tokens.

        An answer has at most half of it where nothing else was said, so that a chat that names no
        length leaves room for a prompt.
        """
        tokens = min(Limits().tokens, context // 2)
        return Limits(**{"tokens": tokens, **self.limits})

    def to_environment(self) -> dict[str, str]:
        """The variable to set for vLLM's processes."""
        return {VARIABLE: json.dumps(asdict(self), default=str)}

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """The settings of the command that started this process.

        Raises:
            StartError: there are none.
        """
        text = environment.get(VARIABLE)
        if text is None:
            raise StartError(f"{VARIABLE} is not set: start the server with perce-serve")
        settings = json.loads(text)
        for name in ("store", "keys", "model"):
            settings[name] = Path(settings[name])
        return cls(**settings)
