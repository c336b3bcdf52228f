"""Fleets small enough to train in a moment, and what is left of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from peft import LoraConfig

from perce.fleet import AdapterSlot, FleetReport, train_fleet
from perce.fleet.folder import folder_name
from perce.tokens import PreparedData
from perce.training import PerCEConfig
from tiny import tiny_model

USERS = ("u0", "u1", "u2")


def config(**options: Any) -> PerCEConfig:
    settings = {
        "use_cpu": True,
        "disable_tqdm": True,
        "max_tokens": 150,
        "max_steps": 3,
        "learning_rate": 0.01,
        "save_strategy": "no",
        **options,
    }
    return PerCEConfig(**settings)


def fresh_slot(**options: Any) -> AdapterSlot:
    lora = LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM", **options)
    return AdapterSlot.fresh(tiny_model(), lora, seed=1)


def run(
    data: PreparedData, out: Path, *, slot: AdapterSlot | None = None, **settings: Any
) -> FleetReport:
    given = {"config": config(), "min_records": 2, "users": USERS, **settings}
    return train_fleet(slot or fresh_slot(), data, out, **given)


def weights(out: Path, user: str) -> bytes:
    """The bytes of a user's adapter."""
    return (out / "users" / folder_name(user) / "adapter_model.safetensors").read_bytes()


def all_weights(out: Path, users: tuple[str, ...] = USERS) -> dict[str, bytes]:
    return {user: weights(out, user) for user in users}


def figures(report: FleetReport) -> dict[str, Any]:
    """All that a report tells of its users, but how long they took."""
    return {user: r.to_dict() | {"seconds": 0} for user, r in sorted(report.users.items())}
