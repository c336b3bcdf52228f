"""What lies beside the weights: a model card for people, and ``perce.json`` for programs."""

from __future__ import annotations

import importlib.metadata
import json
import math
from pathlib import Path
from typing import Any

INFO_FILE = "perce.json"

_PACKAGES = ("perce", "torch", "transformers", "peft")

_CARD = """---
{header}---

# {title}

Trained with perce: fine-tuning for personalisation, in which each response token counts by the
weighting below. With `perce` that is its Personal Influence Ratio, log p with the user's profile
minus log p without it, clipped ([arXiv 2603.06595](https://arxiv.org/abs/2603.06595)).

| | |
|---|---|
{rows}

Text generation needs prompts made as training made them: `{info_file}` says how.
"""


def run_info(
    *,
    base_model: str,
    prompt: dict[str, Any],
    data: dict[str, Any],
    training: dict[str, Any],
) -> dict[str, Any]:
    """Describe a run without a path of the machine it ran on.

    Args:
        base_model: a name of the hub, or a local folder, of which only the last part is told.
        prompt: how prompts are made, as ``PromptRecipe.to_dict()`` gives it.
        data: what to tell of the data.
        training: objective, options and schedule.

    Returns:
        What ``perce.json`` holds.
    """
    local = Path(base_model).is_absolute() or Path(base_model).exists()
    return {
        "base_model": Path(base_model).name if local else base_model,
        "base_model_on_hub": not local and bool(base_model),
        "prompt": prompt,
        "data": data,
        "training": training,
        "versions": {name: _version(name) for name in _PACKAGES},
    }


def write_card(folder: Path, info: dict[str, Any], *, is_adapter: bool) -> None:
    """Write ``README.md`` and ``perce.json`` into a folder of weights.

    Args:
        folder: where the weights lie; a model card that PEFT left there is replaced, for it tells
            the base model's path.
        info: from :func:`run_info`.
        is_adapter: whether the weights are a PEFT adapter.
    """
    text = json.dumps(_finite(info), indent=2, ensure_ascii=False, sort_keys=True)
    (folder / INFO_FILE).write_text(text + "\n", encoding="utf-8")
    header = f"library_name: {'peft' if is_adapter else 'transformers'}\n"
    header += "pipeline_tag: text-generation\ntags:\n- perce\n- personalization\n"
    if info["base_model_on_hub"]:
        header += f"base_model: {json.dumps(info['base_model'])}\n"
    rows = {"Base model": info["base_model"] or "unnamed"}
    rows |= {f"Data: {name}": value for name, value in info["data"].items()}
    rows |= info["training"]
    rows["Prompt template"] = info["prompt"]["template_hash"]
    rows["Versions"] = ", ".join(f"{name} {v}" for name, v in info["versions"].items())
    what = "Personalisation adapter" if is_adapter else "Personalised model"
    card = _CARD.format(
        header=header,
        title=f"{what} for {info['base_model'] or 'a language model'}",
        rows="\n".join(f"| {_cell(name)} | {_cell(value)} |" for name, value in rows.items()),
        info_file=INFO_FILE,
    )
    (folder / "README.md").write_text(card, encoding="utf-8")


def _finite(value: Any) -> Any:
    """``value`` with text for infinite numbers, which JSON has not: an option may be one."""
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _cell(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return " ".join(text.replace("|", "\\|").split())


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
