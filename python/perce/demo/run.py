"""The whole way on real text: prepare, score, train CE and PerCE, compare, draw; two writers.

Every step is remembered by a key over all that it depends on: a finished one is not done again, an
interrupted training goes on from its checkpoint.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import perce
from perce.contrast import score_dataset
from perce.data.sources import KnownTruthSource, SotuSource, Source
from perce.demo.known_truth import truth_auroc
from perce.demo.model import model_note
from perce.demo.settings import DemoSettings
from perce.demo.steps import Steps, folder_key, key_of
from perce.demo.training import train_arm, train_writers
from perce.demo.writers import SHARED, WritersSource, WritersTable, compare_writers
from perce.evaluation import Evaluation, evaluate_adapters
from perce.modeling.loading import load_model, load_tokenizer
from perce.prepare import PrepareOptions, prepare
from perce.report import Section, record_views, replacing, summarise, write_html
from perce.tokens import PreparedData

ARMS = ("ce", "perce")
SPLITS = {
    "val": "Held-out addresses of presidents seen in training",
    "unseen": "Presidents never seen in training",
}
GALLERY = "gallery"
WRITERS = "writers"
GALLERY_SHOWN = 10
"""Known-truth records on the page, two of each kind; all are scored."""

Say = Callable[[str], None]
Tell = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What a demo leaves.

    Attributes:
        evaluations: the comparison on each held-out split.
        heatmap: the page.
        writers: two writers' adapters on each other's text, unless the settings name none.
        report: the comparisons as Markdown.
        peak_memory: bytes this process held at most, or None where the system does not say.
    """

    evaluations: Mapping[str, Evaluation]
    writers: WritersTable | None
    heatmap: Path
    report: Path
    peak_memory: int | None


def run_demo(
    model: Path,
    out: Path,
    *,
    settings: DemoSettings | None = None,
    sources: Mapping[str, Source] | None = None,
    say: Say = print,
    tell: Tell | None = None,
) -> DemoResult:
    """Run the demo, or what is left of it.

    Args:
        model: the model's folder; see :func:`perce.demo.model.smollm2_folder`.
        out: where everything goes; may hold an earlier run's steps.
        settings: sizes; the documented demo by default.
        sources: the texts, by ``text`` (splits train, val, unseen), ``gallery``, and ``writers``
            (splits train, val).
        say: called with a line before each step.
        tell: called inside a step, as it advances.

    Raises:
        PerceError: whatever is wrong with model, data or folder.
        KeyboardInterrupt: Ctrl-C, after training has saved a checkpoint.
    """
    demo = _Demo(model, out, settings or DemoSettings(), say, tell or _say_nothing)
    every = SotuSource(per_president=None)
    return demo.run(sources or {"text": SotuSource(), GALLERY: KnownTruthSource(), WRITERS: every})


class _Demo:
    def __init__(
        self, model: Path, out: Path, settings: DemoSettings, say: Say, tell: Tell
    ) -> None:
        self._folder = model
        self._out = out
        self._settings = settings
        self._say = say
        self._tell = tell
        self._steps = Steps(out)
        self._tokenizer = load_tokenizer(model)
        self._note = model_note(model)
        self._common = (perce.__version__, folder_key(model))
        self._loaded: Any = None

    def run(self, sources: Mapping[str, Source]) -> DemoResult:
        data = self._prepare(sources)
        scores = {name: self._score(data[name]) for name in (GALLERY, *SPLITS)}
        page = self._draw(data, scores)
        adapters = {}
        for arm in ARMS:
            # A training loads its own model: two at once would cost memory for nothing.
            self._loaded = None
            adapters[arm] = self._train(arm, data["train"])
        evaluations = {name: self._evaluate(data[name], adapters, scores[name]) for name in SPLITS}
        writers = None
        if self._settings.writers:
            writers = self._writers(sources[WRITERS], adapters["perce"])
        report = self._out / "comparison.md"
        parts = [evaluation.to_markdown() for evaluation in evaluations.values()]
        if writers is not None:
            parts.append(writers.to_markdown())
        with replacing(report) as scratch:
            scratch.write_text("\n".join(parts), encoding="utf-8")
        return DemoResult(evaluations, writers, page, report, peak_memory())

    # ---- the steps ----

    def _prepare(self, sources: Mapping[str, Source]) -> dict[str, PreparedData]:
        sizes = {
            "train": ("text", self._settings.train_records),
            **dict.fromkeys(SPLITS, ("text", self._settings.eval_records)),
            GALLERY: (GALLERY, self._settings.gallery_records),
        }
        self._say("Preparing: retrieve, render, tokenise")
        data = {}
        for split, (kind, records) in sizes.items():
            data[split] = prepare(
                sources[kind],
                split,
                self._tokenizer,
                self._out / "prepared",
                options=PrepareOptions(
                    k=self._settings.profile_items if kind == "text" else None,
                    max_length=self._settings.max_length,
                    seed=self._settings.seed,
                    limit=records,
                    overwrite=True,
                ),
                progress=partial(self._prepared, split, records),
            )
        counts = {name: split.meta["counts"] for name, split in data.items()}
        self._say(
            "  "
            + ", ".join(f"{name} {c['records']} of {c['users']}" for name, c in counts.items())
            + " (records of users)"
        )
        return data

    def _prepared(self, split: str, total: int, done: int) -> None:
        self._tell(f"preparing {split}", done, total)

    def _score(self, data: PreparedData) -> pa.Table:
        name = data.path.name
        key = key_of(self._common, data.meta["key"], self._settings.max_tokens)
        path = self._out / "scores" / f"base-{name}.parquet"
        if self._steps.done(f"score {name}", key, path):
            self._say(f"Scoring {name}: done before")
            return pq.read_table(path)
        self._say(f"Scoring {name} with the base model: both passes, PIR of every token")
        scores = score_dataset(
            self._model(),
            data,
            tokenizer=self._tokenizer,
            max_tokens=self._settings.max_tokens,
            progress=partial(self._tell, f"scoring {name}"),
        )
        with replacing(path) as scratch:
            pq.write_table(scores, scratch)
        self._steps.mark(f"score {name}", key)
        self._say(f"  {summarise(scores, threshold=self._settings.threshold)}")
        return scores

    def _draw(self, data: Mapping[str, PreparedData], scores: Mapping[str, pa.Table]) -> Path:
        auroc = truth_auroc(scores[GALLERY])
        self._say(f"Known-truth gallery: PIR tells the personal tokens with AUROC {auroc:.2f}")
        gallery = Section(
            "Does it find the right words?",
            list(islice(record_views(scores[GALLERY], data[GALLERY]), GALLERY_SHOWN)),
            about="Plain requests by made-up users, each with one fact in the profile that "
            "matters. Only the words that nobody could guess without it should light up. "
            f"Over {len(data[GALLERY])} such records PIR tells them from the rest with AUROC "
            f"{auroc:.2f} (1 is perfect, 0.5 is "
            "chance).",
        )
        real = Section(
            "Real writers: State of the Union addresses",
            list(record_views(scores["val"], data["val"])),
            about="One paragraph by a president; the profile is paragraphs of his other "
            "addresses. What lights up is style and habit, so it is fainter.",
        )
        path = write_html(
            self._out / "heatmap.html",
            [gallery, real],
            note=f"Model: {self._note}, before any training. A demonstration on a small model.",
            threshold=self._settings.threshold,
        )
        self._say(f"Heat map: {path}")
        return path

    def _train(self, objective: str, data: PreparedData) -> Path:
        folder = self._out / objective
        unused = ("eval_records", "gallery_records", "threshold", "generate", "max_new_tokens")
        options = {name: v for name, v in self._arm_options().items() if name not in unused}
        key = key_of(self._common, data.meta["key"], options, objective)
        finished = folder / "adapter_config.json"
        if self._steps.done(f"train {objective}", key, finished):
            self._say(f"Training {objective}: done before")
            return folder
        if not self._steps.done(f"begin {objective}", key):
            # Checkpoints of another demo must not be continued by this one.
            shutil.rmtree(folder, ignore_errors=True)
            self._steps.mark(f"begin {objective}", key)
        self._say(f"Training the {objective} adapter: LoRA r = {self._settings.lora_r}")
        started = time.monotonic()
        train_arm(
            self._folder, data, folder, objective, self._settings, say=self._say, tell=self._tell
        )
        self._steps.mark(f"train {objective}", key)
        self._say(f"  trained in {time.monotonic() - started:.0f} s: {folder}")
        return folder

    def _evaluate(
        self, data: PreparedData, adapters: Mapping[str, Path], scores: pa.Table
    ) -> Evaluation:
        name = data.path.name
        key = key_of(self._common, data.meta["key"], self._arm_options(), folder_keys(adapters))
        path = self._out / f"eval-{name}.json"
        if self._steps.done(f"evaluate {name}", key, path):
            self._say(f"Comparing on {name}: done before")
            return Evaluation.from_json(path.read_text(encoding="utf-8"))
        self._say(f"Comparing on {name}: {SPLITS[name].lower()}")
        evaluation = evaluate_adapters(
            self._model(),
            self._tokenizer,
            adapters,
            data,
            threshold=self._settings.threshold,
            generate=self._settings.generate,
            max_new_tokens=self._settings.max_new_tokens,
            seed=self._settings.seed,
            max_tokens=self._settings.max_tokens,
            base_scores=scores,
            progress=self._tell,
        )
        with replacing(path) as scratch:
            scratch.write_text(evaluation.to_json(), encoding="utf-8")
        self._steps.mark(f"evaluate {name}", key)
        return evaluation

    def _writers(self, source: Source, shared: Path) -> WritersTable:
        settings = self._settings
        sizes = {"train": settings.writer_records, "val": settings.writer_eval_records}
        data = {
            split: prepare(
                WritersSource(source, settings.writers, sizes),
                split,
                self._tokenizer,
                self._out / "prepared-writers",
                options=PrepareOptions(
                    k=settings.writer_items,
                    max_length=settings.max_length,
                    seed=settings.seed,
                    overwrite=True,
                ),
                progress=partial(self._prepared, "writers", sum(sizes.values())),
            )
            for split in sizes
        }
        keys = [split.meta["key"] for split in data.values()]
        key = key_of(self._common, keys, asdict(settings), folder_keys({SHARED: shared}))
        path = self._out / "writers.json"
        names = " and ".join(settings.writers)
        if self._steps.done("writers", key, path):
            self._say(f"{names}: done before")
            return WritersTable.from_json(path.read_text(encoding="utf-8"))
        out = self._out / "writers"
        if not self._steps.done("begin writers", key):
            # Another demo's adapters must not be taken for this one's.
            shutil.rmtree(out, ignore_errors=True)
            self._steps.mark("begin writers", key)
        self._say(f"{names}: an adapter each, starting from the perce adapter")
        self._loaded = None
        adapters = train_writers(
            self._folder, shared, data["train"], data["val"], out, settings, tell=self._tell
        )
        table = compare_writers(
            self._model(),
            self._tokenizer,
            {SHARED: shared, **adapters},
            data["val"],
            request=0,
            max_tokens=settings.max_tokens,
            max_new_tokens=settings.max_new_tokens,
            tell=self._tell,
        )
        with replacing(path) as scratch:
            scratch.write_text(table.to_json(), encoding="utf-8")
        self._steps.mark("writers", key)
        return table

    def _arm_options(self) -> dict[str, Any]:
        """The settings that the comparison of the arms depends on."""
        options = asdict(self._settings).items()
        return {name: value for name, value in options if not name.startswith("writer")}

    def _model(self) -> Any:
        """The base model, loaded when first needed."""
        if self._loaded is None:
            self._loaded = load_model(self._folder)
        return self._loaded


def folder_keys(adapters: Mapping[str, Path]) -> dict[str, str]:
    """The key of each adapter's weights and configuration."""
    names = ("adapter_config.json", "adapter_model.safetensors")
    return {
        arm: key_of([(folder / name).stat().st_mtime_ns for name in names])
        for arm, folder in adapters.items()
    }


def peak_memory() -> int | None:
    """Bytes of memory that this process held at most, or None where the system does not say."""
    try:
        import resource
    except ImportError:
        return None
    # Linux counts kibibytes, macOS bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _say_nothing(what: str, done: int, total: int, /) -> None:
    del what, done, total
