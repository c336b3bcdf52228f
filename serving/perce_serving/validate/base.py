"""The base model that adapters are for: its name, and the linear layers they may change."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from perce_serving.errors import ValidationError
from perce_serving.faults import Fault
from perce_serving.validate.fingerprint import fingerprint, sample
from perce_serving.validate.header import read_header
from perce_serving.validate.strict_json import parse_object

_CONFIG = "config.json"
_WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_MOST_HEADER = 100_000_000
"""The format's own limit; the base model is trusted more than adapters are."""
_MATRIX = 2
_NOT_LINEAR = frozenset([
    "embed_in", "embed_out", "embed_positions", "embed_tokens", "lm_head", "position_embeddings",
    "token_type_embeddings", "word_embeddings", "wpe", "wte",
])  # fmt: skip
"""Last parts of the names of matrices that look words up or score them."""


def short_name(name: str) -> str:
    """What names of one model have in common: the last part, in lower case.

    ``HuggingFaceTB/SmolLM2-135M``, ``/models/SmolLM2-135M`` and the hub's cache folder
    ``models--HuggingFaceTB--SmolLM2-135M/snapshots/<commit>`` are the same model.
    """
    parts = PurePosixPath(name.replace("\\", "/")).parts
    match parts:
        case [*_, cached, "snapshots", _] if cached.startswith("models--"):
            return cached.split("--")[-1].lower()
        case [*_, last]:
            return last.lower()
    return ""


@dataclass(frozen=True, kw_only=True, slots=True)
class BaseModel:
    """What adapters are compared with; read once, from headers alone."""

    name: str
    """Its short name (``short_name``)."""
    layers: dict[str, tuple[int, int]]
    """Outputs and inputs of each matrix of weights, by the module's name."""
    fingerprint: str | None = None
    """Tells it from others of its name (``fingerprint``); None where the weights are not known."""

    @classmethod
    def read(cls, folder: Path, *, name: str | None = None) -> BaseModel:
        """Read a model's folder as transformers saves it, in milliseconds, without most values.

        Args:
            folder: with ``config.json`` and safetensors in one file or several.
            name: what adapters call the model, where that is not the folder's name.

        Raises:
            ValidationError: a file is absent or corrupt, or the weights are quantised.
            OSError: a file cannot be read.
        """
        path = folder / _CONFIG
        config = parse_object(_read(path), fault=Fault.CONFIG_SYNTAX, file=str(path))
        if config.get("quantization_config"):
            raise ValidationError(
                Fault.UNSUPPORTED,
                "the weights are quantised, and their shapes say nothing of the layers; "
                "give the folder of the model as it was before",
                file=str(path),
                field="quantization_config",
            )
        layers: dict[str, tuple[int, int]] = {}
        samples: dict[str, bytes] = {}
        for path in _weight_files(folder):
            try:
                with path.open("rb") as file:
                    tensors = read_header(file, most=_MOST_HEADER, name=str(path))
                    for key, tensor in tensors.items():
                        if key.endswith(".weight") and len(tensor.shape) == _MATRIX:
                            module = key.removesuffix(".weight")
                            layers[module] = (tensor.shape[0], tensor.shape[1])
                            samples[module] = sample(file, tensor)
            except FileNotFoundError:
                raise _missing(path) from None
        linear = {module: shape for module, shape in layers.items() if is_linear(module)}
        return cls(
            name=short_name(name or str(folder.absolute())),
            layers=layers,
            fingerprint=fingerprint(linear, samples),
        )


def is_linear(module: str) -> bool:
    """Whether a matrix multiplies hidden states, and neither looks words up nor scores them.

    The output layer is saved by some and left out by others where it is the embeddings.
    """
    return module.rpartition(".")[2] not in _NOT_LINEAR


def _weight_files(folder: Path) -> list[Path]:
    """The model's files of weights; those named by the index, if there is one."""
    index = folder / _INDEX
    if not index.exists():
        return [folder / _WEIGHTS]
    parsed = parse_object(_read(index), fault=Fault.CONFIG_SYNTAX, file=str(index))
    names: Any = parsed.get("weight_map")
    if not isinstance(names, dict) or not names:
        raise ValidationError(
            Fault.CONFIG_FIELD,
            "not a file for each tensor; save the model anew",
            file=str(index),
            field="weight_map",
        )
    return sorted({folder / str(name) for name in names.values()})


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise _missing(path) from None


def _missing(path: Path) -> ValidationError:
    return ValidationError(
        Fault.MISSING_FILE,
        "there is no such file; give the folder of a model in safetensors",
        file=str(path),
    )
