"""``perce fleet``: its own options, and from options to a fleet."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perce.errors import OptionError
from perce.fleet.result import FleetReport
from perce.fleet.run import Progress, train_fleet
from perce.fleet.slot import AdapterSlot
from perce.fleet.training import check_config
from perce.fleet.users import ALL, choose_users
from perce.modeling.loading import load_model, load_tokenizer
from perce.publishing import MAX_LORA_RANK, Publisher, check_options
from perce.tokens import PreparedData
from perce.training import LoraArguments, PerCEConfig
from perce.training.card import INFO_FILE

DEFAULTS = {"use_peft": True, "save_strategy": "no"}
"""Of a fleet's training options, where they are others than those of ``perce train``: a user's
training is short, so a killed one starts again rather than to write checkpoints all the time."""


@dataclass
class FleetArguments:
    """Which users, from what, into what.

    Attributes:
        base_adapter: the adapter that each user's starts from; new adapters without it.
        model: the base model's folder or hub name; what ``base_adapter`` names by default.
        data: prepared folder; its split ``train``, or the folder of a split itself.
        eval_data: held-out records of the same users, as a prepared folder (its split ``val``) or a
            split's; without it each user's last records of ``data``.
        out: the fleet's folder.
        users: ``all``, or a file with a user id a line.
        eval_share: share of a user's records to hold out where there is no ``eval_data``.
        min_records: fewest records to train on that a user needs.
        dtype: dtype of the base model's weights.
        publish: publish each user's adapter as soon as it is finished.
        store: folder of the store into which they are published.
        max_lora_rank: highest rank that the server of that store takes.

    Raises:
        OptionError: ``publish`` without ``store`` or the other way round.
    """

    base_adapter: str | None = field(
        default=None, metadata={"help": "Adapter to start each user's from."}
    )
    model: str | None = field(default=None, metadata={"help": "Folder or hub name of the model."})
    data: str | None = field(default=None, metadata={"help": "Prepared folder."})
    eval_data: str | None = field(
        default=None, metadata={"help": "Held-out records of the same users."}
    )
    out: str | None = field(default=None, metadata={"help": "The fleet's folder."})
    users: str = field(default=ALL, metadata={"help": "all, or a file with a user id a line."})
    eval_share: float = field(
        default=0.2, metadata={"help": "Share of a user's records held out without eval_data."}
    )
    min_records: int = field(
        default=5, metadata={"help": "Fewest records to train on that a user needs."}
    )
    dtype: str = field(default="float32", metadata={"help": "Dtype of the model's weights."})
    publish: bool = field(
        default=False, metadata={"help": "Publish each user's adapter when it is finished."}
    )
    store: str | None = field(
        default=None, metadata={"help": "Folder of the store into which to publish."}
    )
    max_lora_rank: int = field(
        default=MAX_LORA_RANK, metadata={"help": "Highest rank that the store's server takes."}
    )

    def __post_init__(self) -> None:
        check_options(publish=self.publish, store=self.store)


def run_script(
    script: FleetArguments,
    config: PerCEConfig,
    lora: LoraArguments | None = None,
    *,
    progress: Progress | None = None,
) -> FleetReport:
    """Load model, adapter and data, and train the fleet; see :func:`perce.fleet.train_fleet`.

    Args:
        script: which users, from what, into what.
        config: training options, the same for all users.
        lora: shape of new adapters; with ``base_adapter`` it must be left alone.
        progress: told about users and steps.

    Raises:
        OptionError: something is not given, or cannot work.
        MissingExtraError: to publish without perce-serving.
        PerceError: whatever else is wrong with model, adapter, data or folder, by its own type.
    """
    check_config(config)
    for name in ("data", "out"):
        if getattr(script, name) is None:
            raise OptionError(
                name, f"is missing: give --{name}, or {name}: in the file of --config"
            )
    assert script.data is not None
    assert script.out is not None
    lora = lora or LoraArguments(use_peft=True)
    _check_lora(script, lora)
    data = PreparedData.open(script.data)
    eval_data = None
    if script.eval_data is not None:
        eval_data = PreparedData.open(script.eval_data, split="val")
    users = choose_users(script.users, list(dict.fromkeys(data.user_ids)))
    name = script.model or _base_of(script.base_adapter)
    publisher = None
    if script.store is not None:
        publisher = Publisher(store=script.store, base=name, max_lora_rank=script.max_lora_rank)
    tokenizer = load_tokenizer(name)
    for split in (data, eval_data):
        if split is not None:
            split.check_tokenizer(tokenizer)
    model = load_model(name, dtype=script.dtype, device="cpu" if config.use_cpu else None)
    warnings = []
    if script.base_adapter is None:
        slot = AdapterSlot.fresh(model, lora.peft_config(), seed=config.seed)
        start = "the base model"
    else:
        slot = AdapterSlot.shared(model, script.base_adapter)
        start = f"the shared adapter {Path(script.base_adapter).name}"
        if eval_data is None and _trained_on(script.base_adapter, data):
            warnings.append(
                "the shared adapter was trained on all records of the same data, the held-out ones "
                "among them, so 'before' is better than it would be on new text: give eval_data"
            )
    return train_fleet(
        slot,
        data,
        script.out,
        config=config,
        users=users,
        eval_data=eval_data,
        eval_share=script.eval_share,
        min_records=script.min_records,
        start=start,
        warnings=warnings,
        publisher=publisher,
        progress=progress,
    )


def _check_lora(script: FleetArguments, lora: LoraArguments) -> None:
    if not lora.use_peft:
        raise OptionError("use_peft", "leave it out: a fleet trains adapters, one a user")
    if script.base_adapter is None:
        return
    untouched = LoraArguments(use_peft=True)
    for name, value in vars(untouched).items():
        if getattr(lora, name) != value:
            raise OptionError(name, "leave it out: base_adapter gives the shape of the adapters")


def _base_of(base_adapter: str | None) -> str:
    """The base model that an adapter names."""
    if base_adapter is None:
        raise OptionError("model", "is missing: give --model, or --base_adapter, which names it")
    name = _read(Path(base_adapter) / "adapter_config.json").get("base_model_name_or_path")
    if not name:
        raise OptionError("model", f"is missing, and {base_adapter} names none: give --model")
    return str(name)


def _trained_on(base_adapter: str, data: PreparedData) -> bool:
    """Whether ``perce train`` made the adapter from this very data, as far as its card tells."""
    told = _read(Path(base_adapter) / INFO_FILE).get("data", {})
    mine = {
        "source": data.meta["source"]["name"],
        "split": data.meta["source"]["split"],
        "records": len(data),
        "response tokens": data.core.n_response_tokens,
    }
    return all(told.get(name) == value for name, value in mine.items())


def _read(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is none, which loading the adapter will tell better."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
