"""What the benchmarks share: rivals timed in turns, tables, random data and models, the machine."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from perce import _core

if TYPE_CHECKING:
    from perce.tokens import PreparedData


def arguments(doc: str | None) -> argparse.ArgumentParser:
    """A parser that prints the script's docstring as help and knows ``--quick``."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, at most a minute: shows that it runs"
    )
    return parser


def machine(*packages: str) -> str:
    """One line: processor, cores this process may use, load, and versions."""
    names = ("perce", "torch", "numpy", *packages)
    versions = ", ".join(f"{name} {_version(name)}" for name in names)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = f"load {os.getloadavg()[0]:.1f} at the end, " if hasattr(os, "getloadavg") else ""
    start = f"Machine: {_processor()}, {cores} cores"
    return f"{start}, {load}Python {platform.python_version()}, {versions}"


def race(arms: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each arm. Arms run in turns, so that a busy moment meets all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(repeats):
        for name, run in arms.items():
            begin = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - begin)
    return {name: statistics.median(times) for name, times in seconds.items()}


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a Markdown table; the first column stands left, the others right."""
    print(f"\n{title}\n")
    print(f"| {' | '.join(header)} |")
    print(f"| --- |{' ---: |' * (len(header) - 1)}")
    for row in rows:
        print(f"| {' | '.join(map(str, row))} |")


def ratio(name: str, value: float, goal: str | None = None) -> None:
    """Print a ratio of this run and what it should be."""
    print(f"ratio: {name}: {value:.3g}" + (f" (goal {goal})" if goal else ""))


def random_store(records: int, seed: int = 0) -> _core.TokenStore:
    """Records as retrieval gives them: 1,899 tokens with profile and 399 without, on average."""
    rng = np.random.default_rng(seed)

    def lengths(mean: float, sigma: float, most: int) -> np.ndarray:
        drawn = rng.lognormal(np.log(mean) - sigma**2 / 2, sigma, records)
        return np.clip(drawn, 4, most).astype(np.int64)

    def column(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        return rng.integers(0, 49152, offsets[-1], dtype=np.int32), offsets

    profile, query = lengths(1500, 0.4, 4000), lengths(150, 0.5, 1000)
    response = lengths(249, 0.5, 2000)
    return _core.TokenStore(*column(profile + query), *column(query), *column(response))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def _processor() -> str:
    try:
        info = Path("/proc/cpuinfo").read_text()
    except OSError:
        info = ""
    names = [line.split(":")[1].strip() for line in info.splitlines() if "model name" in line]
    return names[0] if names else platform.machine()


_WORDS = """
the of and to in we propose a model that learns from data which users write their words with more
than one language task result shows this method improves over strong baselines however analysis
evaluation translation parsing corpus annotation speech neural attention sequence
""".split()  # noqa: SIM905 - a text reads better than a list of its words


def lorem(words: int, seed: int) -> str:
    """So many words drawn from a short list, most of them one token."""
    draw = np.random.default_rng(seed).integers(0, len(_WORDS), words)
    return " ".join(_WORDS[number] for number in draw)


def random_records(
    folder: Path,
    tokenizer: Any,
    records: int,
    *,
    profile: int,
    query: int = 60,
    response: int = 120,
) -> PreparedData:
    """Prepared records of random words, lengths within a quarter of the given ones."""
    from perce.data.sources import TabularSource
    from perce.prepare import PrepareOptions, prepare

    rng = np.random.default_rng(profile)
    file = folder / f"profile-{profile}.jsonl"
    with file.open("w") as stream:
        for number in range(records):
            sizes = [int(mean * rng.uniform(0.75, 1.25)) for mean in (profile, query, response)]
            texts = [lorem(size, seed=3 * number + part) for part, size in enumerate(sizes)]
            row = {"id": str(number), "user_id": "u", "profile": texts[:1]}
            stream.write(json.dumps(row | {"prompt": texts[1], "completion": texts[2]}) + "\n")
    options = PrepareOptions(retrieval="none", max_length=8192)
    return prepare(TabularSource(file), "train", tokenizer, folder / str(profile), options=options)


def tokenizer_of(model: str | None) -> Any:
    """The model's tokenizer, or one of whole words over the short list."""
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    if model is not None:
        return AutoTokenizer.from_pretrained(model)
    from tokenizers import Tokenizer, models, pre_tokenizers

    names = ["<unk>", "<pad>", "<eos>", *dict.fromkeys(_WORDS)]
    backend = Tokenizer(models.WordLevel({w: i for i, w in enumerate(names)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", pad_token="<pad>", eos_token="<eos>"
    )


def random_model(model: str | None, layers: int, *, quick: bool) -> Any:
    """The model in a folder, or a random Llama of SmolLM2-135M's shape; the same at every call."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    if model is not None:
        return AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    torch.manual_seed(0)
    shape = {"hidden_size": 64, "intermediate_size": 128, "vocab_size": 1024}
    if not quick:
        shape = {"hidden_size": 576, "intermediate_size": 1536, "vocab_size": 49152}
    config = LlamaConfig(
        **shape,
        num_hidden_layers=2 if quick else layers,
        num_attention_heads=4 if quick else 9,
        num_key_value_heads=2 if quick else 3,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
        pad_token_id=None,
        bos_token_id=None,
        eos_token_id=None,
    )
    return AutoModelForCausalLM.from_config(config)
