"""Where on this machine the base model is that somebody, or an adapter, names."""

from __future__ import annotations

import os
from pathlib import Path

from perce_serving.adapter_files import CONFIG_FILE, open_regular
from perce_serving.errors import ServingError
from perce_serving.faults import Fault
from perce_serving.validate.base import BaseModel
from perce_serving.validate.config import MOST_CONFIG
from perce_serving.validate.strict_json import parse_object


def find_base(name: str) -> BaseModel:
    """Read a base model from this machine.

    Args:
        name: a folder or, as ``owner/name``, a model of the Hugging Face hub; then the local cache
            is asked for it.

    Raises:
        ServingError: it is not on this machine, or cannot be read.
        OSError: a file cannot be read.
    """
    if name:
        for folder in (Path(name), _cached(name)):
            if (folder / "config.json").is_file():
                return BaseModel.read(folder, name=name)
    raise ServingError(f"base model {name[:80]!r}: not on this machine; give its folder, --model")


def base_of(adapter: Path) -> str:
    """The name of the base model that an adapter gives; empty if it gives none.

    Raises:
        ServingError: its configuration is absent or no JSON.
        OSError: it cannot be read.
    """
    with open_regular(adapter / CONFIG_FILE) as file:
        text = file.read(MOST_CONFIG)
    config = parse_object(text, fault=Fault.CONFIG_SYNTAX, file=CONFIG_FILE)
    name = config.get("base_model_name_or_path")
    return name if isinstance(name, str) else ""


def _cached(name: str) -> Path:
    """The folder that the hub's cache has for a model, whether or not it is there.

    Layout: https://huggingface.co/docs/huggingface_hub/guides/manage-cache.
    """
    home = Path(os.environ.get("HF_HOME") or "~/.cache/huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE") or home / "hub").expanduser()
    model = cache / f"models--{name.replace('/', '--')}"
    try:
        commit = (model / "refs" / "main").read_text("ascii").strip()
    except (OSError, ValueError):
        commit = "none"
    return model / "snapshots" / commit
