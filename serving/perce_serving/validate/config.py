"""PEFT's ``adapter_config.json``: whether vLLM would serve the adapter as it was trained.

vLLM 0.32 reads ``r``, ``lora_alpha``, ``use_rslora``, ``target_modules``, ``bias``,
``modules_to_save`` and ``use_dora``, and silently ignores the rest (``vllm/lora/peft_helper.py``).
So every other field must be without effect on the forward pass or unset: a field that PEFT adds
tomorrow is refused until somebody has looked at it.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any, BinaryIO

from perce_serving.adapter_files import CONFIG_FILE
from perce_serving.errors import ValidationError
from perce_serving.faults import Fault
from perce_serving.validate.base import BaseModel, short_name
from perce_serving.validate.pattern import Pattern, PatternError
from perce_serving.validate.strict_json import parse_object

MOST_CONFIG = 1 << 20
"""Bytes of the largest configuration that is read; a real one has some thousands."""

_OF_TRAINING = frozenset({
    # How it was trained and where it came from, nothing of what it computes.
    "auto_mapping", "ensure_weight_tying", "eva_config", "inference_mode", "lora_dropout",
    "megatron_core", "peft_version", "qalora_group_size", "revision",
})  # fmt: skip
_READ_HERE = frozenset({
    "base_model_name_or_path", "bias", "exclude_modules", "init_lora_weights",
    "layers_pattern", "layers_to_transform", "lora_alpha", "peft_type", "r", "target_modules",
    "task_type", "use_rslora",
})  # fmt: skip
_PLAIN_STARTS = (True, False, None, "gaussian", "eva", "orthogonal")
"""Values of ``init_lora_weights`` that leave the base model's weights as they are."""

_MOST_SHOWN = 80
"""Characters of a bad value that an error repeats."""

_ALL_LINEAR = Pattern(".*")
"""What PEFT makes of ``all-linear``: all that are linear but for the output, refused elsewhere."""

Names = frozenset[str] | Pattern
"""Modules: by the ends of their names, or by a regular expression for the whole name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AdapterConfig:
    """What the weights are checked against."""

    rank: int
    """Rows of every A, columns of every B."""
    scaling: float
    """What the engine multiplies B with."""
    targets: Names
    """The modules it is for."""
    excluded: Names
    """Modules it is not for, all the same."""
    layers: frozenset[int] | None
    """Numbers of the layers it is for; None for all."""
    numbered: tuple[str, ...]
    """Parts of a module's name after which a layer's number stands; any part if there are none."""

    def is_for(self, module: str) -> bool:
        """Whether PEFT would load weights for this module, and not ignore them.

        As ``check_target_module_exists`` in ``peft/tuners/tuners_utils.py``.
        """
        if _names_it(self.excluded, module):
            return False
        if not _names_it(self.targets, module):
            return False
        if self.layers is None or isinstance(self.targets, Pattern) or module in self.targets:
            return True
        return _layer(module, self.numbered) in self.layers


def _layer(module: str, numbered: tuple[str, ...]) -> int | None:
    """Number of the layer that a module is in; the first one, as experts inside have numbers."""
    pairs = list(itertools.pairwise(module.split(".")[:-1]))
    for part in numbered:
        for before, number in pairs:
            if before == part and number.isdecimal():
                return int(number)
    if not numbered:
        for _, number in pairs[1:]:
            if number.isdecimal():
                return int(number)
    return None


def _names_it(names: Names, module: str) -> bool:
    """Whether a module's name is matched as a whole, or ends as one of the names says."""
    if isinstance(names, Pattern):
        return names.matches(module)
    parts = module.split(".")
    return not names.isdisjoint(".".join(parts[start:]) for start in range(len(parts)))


def read_bounded(file: BinaryIO, name: str) -> bytes:
    """Read a file of JSON that is ``MOST_CONFIG`` long at most.

    Raises:
        ValidationError: ``FILE_TOO_LARGE``; it names the file by ``name``.
        OSError: it cannot be read.
    """
    text = file.read(MOST_CONFIG + 1)
    if len(text) > MOST_CONFIG:
        raise ValidationError(
            Fault.FILE_TOO_LARGE,
            f"more than {MOST_CONFIG} bytes; no adapter's is so long",
            file=name,
        )
    return text


def parse_config(text: bytes, base: BaseModel, *, max_rank: int) -> AdapterConfig:
    """Check a configuration.

    Args:
        text: content of ``adapter_config.json``.
        base: the model it must have been trained on.
        max_rank: highest rank that is served.

    Raises:
        ValidationError: naming the field.
    """
    config = parse_object(text, fault=Fault.CONFIG_SYNTAX, file=CONFIG_FILE)
    if config.get("peft_type") != "LORA":
        raise _refused(Fault.NOT_LORA, "peft_type", config, "train the adapter as LORA")
    if config.get("use_dora"):
        raise _refused(Fault.DORA, "use_dora", config, "vLLM does not serve DoRA; train without")
    _check_features(config)
    _check_base(config, base)
    rank = _rank(config, max_rank)
    return AdapterConfig(
        rank=rank,
        scaling=_scaling(config, rank),
        targets=_targets(config),
        excluded=_excluded(config),
        layers=_layers(config),
        numbered=_numbered(config),
    )


def _check_features(config: dict[str, Any]) -> None:
    if config.get("task_type") not in ("CAUSAL_LM", None):
        raise _refused(Fault.UNSUPPORTED, "task_type", config, "only CAUSAL_LM is served")
    if config.get("bias", "none") != "none":
        raise _refused(Fault.UNSUPPORTED, "bias", config, "vLLM serves none; train with 'none'")
    if config.get("init_lora_weights") not in _PLAIN_STARTS:
        raise _refused(
            Fault.UNSUPPORTED,
            "init_lora_weights",
            config,
            "this start changes the base model's weights, which are served unchanged; "
            "convert the adapter when saving (path_initial_model_for_weight_conversion)",
        )
    for field in config.keys() - _OF_TRAINING - _READ_HERE:
        if config[field]:
            raise _refused(
                Fault.UNSUPPORTED, field, config, "vLLM refuses or ignores it; train without"
            )


def _check_base(config: dict[str, Any], base: BaseModel) -> None:
    field = "base_model_name_or_path"
    name = config.get(field)
    if not isinstance(name, str) or not short_name(name):
        raise _refused(Fault.WRONG_BASE, field, config, f"write the base model's, {base.name!r}")
    if short_name(name) != base.name:
        raise _refused(
            Fault.WRONG_BASE, field, config, f"another model than {base.name!r}, which is served"
        )


def _rank(config: dict[str, Any], max_rank: int) -> int:
    rank = config.get("r")
    if type(rank) is not int:
        raise _refused(Fault.CONFIG_FIELD, "r", config, "must be an integer")
    if not 1 <= rank <= max_rank:
        raise _refused(
            Fault.RANK, "r", config, f"must be 1 to {max_rank}; train with less or raise the limit"
        )
    return rank


def _scaling(config: dict[str, Any], rank: int) -> float:
    alpha = config.get("lora_alpha")
    # A bool is an int to isinstance, and NaN is in no range.
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 < alpha < math.inf:
        raise _refused(Fault.CONFIG_FIELD, "lora_alpha", config, "must be a positive number")
    stabilised = config.get("use_rslora", False)
    if type(stabilised) is not bool:
        raise _refused(Fault.CONFIG_FIELD, "use_rslora", config, "must be true or false")
    try:
        return float(alpha / (math.sqrt(rank) if stabilised else rank))
    except OverflowError:
        raise _refused(Fault.TOO_LARGE, "lora_alpha", config, "of no use; train anew") from None


def _targets(config: dict[str, Any]) -> Names:
    field = "target_modules"
    names = config.get(field)
    if not names:
        raise _refused(Fault.CONFIG_FIELD, field, config, "must name a module")
    if isinstance(names, str) and names.lower() == "all-linear":
        return _ALL_LINEAR
    return _names(config, field)


def _excluded(config: dict[str, Any]) -> Names:
    return _names(config, "exclude_modules") if config.get("exclude_modules") else frozenset()


def _names(config: dict[str, Any], field: str) -> Names:
    names = config[field]
    if isinstance(names, str):
        try:
            return Pattern(names)
        except PatternError as error:
            raise _refused(Fault.CONFIG_FIELD, field, config, f"{error}; list the names") from None
    if isinstance(names, list) and all(isinstance(name, str) for name in names):
        return frozenset(names)
    raise _refused(Fault.CONFIG_FIELD, field, config, "must be a list of names, or a pattern")


def _layers(config: dict[str, Any]) -> frozenset[int] | None:
    field = "layers_to_transform"
    match config.get(field):
        case None | []:
            return None
        case int(number) if type(number) is int:
            return frozenset([number])
        case [*numbers] if all(type(number) is int for number in numbers):
            return frozenset(numbers)
    raise _refused(Fault.CONFIG_FIELD, field, config, "must be a number, or a list of numbers")


def _numbered(config: dict[str, Any]) -> tuple[str, ...]:
    field = "layers_pattern"
    names = config.get(field) or []
    names = [names] if isinstance(names, str) else names
    # PEFT takes regular expressions here as well; people write "layers" or "h".
    if isinstance(names, list) and all(isinstance(n, str) and n.isidentifier() for n in names):
        return tuple(names)
    raise _refused(Fault.CONFIG_FIELD, field, config, "must be a part of a name, as 'layers'")


def _refused(fault: Fault, field: str, config: dict[str, Any], remedy: str) -> ValidationError:
    shown = repr(config.get(field))
    if len(shown) > _MOST_SHOWN:
        shown = shown[:_MOST_SHOWN] + "..."
    return ValidationError(fault, f"{shown}: {remedy}", file=CONFIG_FILE, field=field[:200])
