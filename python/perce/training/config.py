"""Training options: transformers' own, and the few that are new."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from transformers import TrainingArguments

from perce.errors import ObjectiveError, OptionError
from perce.objectives import Objective, get_objective

_MEANINGLESS: dict[str, str] = {
    "dataloader_drop_last": "no record is ever dropped",
    "dataloader_num_workers": "batches are collated faster than a worker process could send them",
    "dataloader_persistent_workers": "there are no worker processes",
    "dataloader_prefetch_factor": "there are no worker processes",
    "auto_find_batch_size": "the bins are packed once a run: lower max_tokens instead",
    "label_smoothing_factor": "the loss is a weighted log-probability of the response itself",
    "label_names": "the labels are the response tokens",
    "length_column_name": "the lengths are known from the prepared data",
    "train_sampling_strategy": "the bins of the plan are the batches, in an order of their own",
    "ignore_data_skip": "a resumed run would see other records than the one it continues",
    "neftune_noise_alpha": "noise in one of the two passes would pass for personal influence",
    "torch_compile": "the loss runs inside the head, where a compiled model does not let it in",
    "use_liger_kernel": "the loss of perce replaces it",
    "parallelism_config": "packed rows are not split over ranks",
    "deepspeed": "the loss runs inside the head, which DeepSpeed does not gather for it: use FSDP",
    "prediction_loss_only": "evaluation computes no predictions",
}
"""Options of transformers that its own loader or loss would use, and why they mean nothing here."""

WEIGHT_SOURCES = ("self", "reference", "column")
"""Whose log-probabilities can make the weights."""


@dataclass
class PerCEConfig(TrainingArguments):  # type: ignore[misc]
    """``transformers.TrainingArguments`` with the options of PerCE.

    Other defaults than there: ``learning_rate`` 2e-5 as TRL has it (2e-4 suits LoRA, and is what
    ``perce train --use_peft`` takes unless told otherwise), ``logging_steps`` 10,
    ``logging_nan_inf_filter`` off, for it hides a broken loss, and checkpointing without
    re-entrance. ``bf16`` is autocast, on CPUs too.

    Attributes:
        objective: name of the token weighting.
        perce_clip_min: smallest weight m of ``perce``; other objectives do not read it, so that
            one file serves all arms of a comparison.
        perce_clip_max: largest weight M of ``perce``.
        objective_options: options of any other objective, by name; JSON on the command line.
        normalize: "tokens" divides the loss by the response tokens of the optimizer step, "weight"
            by the sum of their weights; the objective's own by default.
        ce_warmup_steps: optimizer steps of plain cross-entropy before the objective. From a base
            that does not use profiles yet, self-estimated weights are slower than CE.
        perce_weight_source: whose log-probabilities make the weights: "self", the model as it
            trains; "reference", a frozen model, run over the data once before the first step; or
            "column", the file ``perce_scores``. Objectives that need no profile-free
            log-probabilities do not read it, so that one file serves all arms of a comparison.
        perce_reference: the frozen model of "reference": "base", the model under its adapters (the
            default with PEFT), or a folder of a model or of an adapter for it.
        perce_scores: Parquet of ``perce score`` over the very same data; for "column", or with
            "self" and ``refresh_every`` above 1 for the first epoch's profile-free
            log-probabilities.
        refresh_every: epochs between two profile-free passes over the data with "self"; in between
            the stored log-probabilities are used. 1 is the paper's.
        ledger: keep a score ledger in ``output_dir``: each response token's PIR over training.
        ledger_decay: decay of the ledger's moving average of PIR, from visit to visit.
        packing: fill micro-batches up to ``max_tokens``; otherwise a micro-batch is
            ``per_device_train_batch_size`` records. Nothing is padded either way.
        max_tokens: tokens of the with-profile stream in a micro-batch.
        short_ratio: room in the profile-free stream over the mean ratio of lengths.
        personal_threshold: nats of PIR under the base model above which evaluation counts a token
            as personal.

    Raises:
        OptionError: an option has a value that cannot work, or means nothing here.
        ObjectiveError: an unknown objective, or options that it does not take.
    """

    objective: str = field(default="perce", metadata={"help": "Token weighting, by name."})
    perce_clip_min: float = field(default=0.8, metadata={"help": "Smallest weight of perce."})
    perce_clip_max: float = field(default=5.0, metadata={"help": "Largest weight of perce."})
    objective_options: dict[str, Any] | str | None = field(
        default=None, metadata={"help": "Options of another objective, as JSON."}
    )
    normalize: str | None = field(
        default=None,
        metadata={"help": "Divide the loss by 'tokens' or 'weight'; the objective's own if unset."},
    )
    ce_warmup_steps: int = field(
        default=0, metadata={"help": "Steps of plain cross-entropy before the objective."}
    )
    perce_weight_source: str = field(
        default="self", metadata={"help": "What makes the weights: self, reference or column."}
    )
    perce_reference: str | None = field(
        default=None, metadata={"help": "Frozen reference: base, or a model's or adapter's folder."}
    )
    perce_scores: str | None = field(
        default=None, metadata={"help": "Parquet that perce score wrote over the same data."}
    )
    refresh_every: int = field(
        default=1, metadata={"help": "Epochs between two profile-free passes over the data."}
    )
    ledger: bool = field(default=True, metadata={"help": "Keep a score ledger in output_dir."})
    ledger_decay: float = field(
        default=0.5, metadata={"help": "Decay of the ledger's average of PIR, a visit."}
    )
    packing: bool = field(default=True, metadata={"help": "Fill micro-batches up to max_tokens."})
    max_tokens: int = field(default=16384, metadata={"help": "Tokens in a packed micro-batch."})
    short_ratio: float = field(
        default=1.25, metadata={"help": "Room in the profile-free stream over the mean ratio."}
    )
    personal_threshold: float = field(
        default=0.5,
        metadata={"help": "PIR under the base model, in nats, above which a token is personal."},
    )

    learning_rate: float = field(default=2e-5, metadata={"help": "The initial learning rate."})
    logging_steps: float = field(default=10, metadata={"help": "Steps between two log entries."})
    logging_nan_inf_filter: bool = field(
        default=False, metadata={"help": "Must stay off: it hides a loss that is not finite."}
    )
    remove_unused_columns: bool = field(default=False, metadata={"help": "Has no effect here."})

    gradient_checkpointing_kwargs: dict[str, Any] | str | None = None
    greater_is_better: bool | None = None

    def __post_init__(self) -> None:
        for option in fields(TrainingArguments):
            if option.name in _MEANINGLESS and getattr(self, option.name) != option.default:
                raise OptionError(option.name, f"leave it out: {_MEANINGLESS[option.name]}")
        if self.logging_nan_inf_filter:
            raise OptionError("logging_nan_inf_filter", "leave it out: it hides a broken loss")
        if self.bf16 and not torch.cuda.is_available():
            self.use_cpu = True
        if self.gradient_checkpointing and self.gradient_checkpointing_kwargs is None:
            self.gradient_checkpointing_kwargs = {"use_reentrant": False}
        if self.greater_is_better is None and "nll" in (self.metric_for_best_model or ""):
            self.greater_is_better = False
        try:
            super().__post_init__()
        except ValueError as error:
            raise OptionError("training options", " ".join(str(error).split())) from error
        self._check_own()

    def _check_own(self) -> None:
        if isinstance(self.objective_options, str):
            try:
                self.objective_options = json.loads(self.objective_options)
            except ValueError as error:
                raise OptionError("objective_options", f"is not JSON: {error}") from None
        if not isinstance(self.objective_options, dict | None):
            raise OptionError("objective_options", 'give a mapping, as in {"gamma": 5}')
        if self.normalize not in (None, "tokens", "weight"):
            raise OptionError("normalize", f"{self.normalize!r}: give tokens or weight")
        for name, least in (("ce_warmup_steps", 0), ("max_tokens", 1), ("refresh_every", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise OptionError(name, f"{value!r}: give a whole number of at least {least}")
        for name in ("learning_rate", "short_ratio", "personal_threshold", "ledger_decay"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not math.isfinite(value):
                raise OptionError(name, f"{value!r}: give a finite number")
        if self.short_ratio <= 0:
            raise OptionError("short_ratio", f"{self.short_ratio}: give a number above 0")
        if not 0 <= self.ledger_decay < 1:
            raise OptionError("ledger_decay", f"{self.ledger_decay}: give 0 up to below 1")
        self._check_source()
        self.make_objective()

    def _check_source(self) -> None:
        source = self.perce_weight_source
        if source not in WEIGHT_SOURCES:
            raise OptionError(
                "perce_weight_source", f"{source!r}: give {', '.join(WEIGHT_SOURCES)}"
            )
        if self.perce_reference is not None and source != "reference":
            raise OptionError(
                "perce_reference",
                f"means nothing with perce_weight_source {source!r}: use 'reference'",
            )
        if source != "self" and self.refresh_every > 1:
            raise OptionError(
                "refresh_every",
                f"leave it out: with perce_weight_source {source!r} nothing is refreshed",
            )
        if self.refresh_every > 1 and not self.ledger:
            raise OptionError(
                "ledger", "refresh_every above 1 reads what the ledger stores: use it"
            )
        if source == "column" and self.perce_scores is None:
            raise OptionError(
                "perce_scores", "is missing: give the Parquet of perce score that holds the column"
            )
        read = source == "column" or (source == "self" and self.refresh_every > 1)
        if self.perce_scores is not None and not read:
            raise OptionError(
                "perce_scores",
                "is read with perce_weight_source 'column', or with 'self' and refresh_every above "
                "1: leave it out",
            )

    def make_objective(self) -> Objective:
        """The objective that these options describe.

        Raises:
            ObjectiveError: an unknown name, or options that it does not take.
        """
        given = self.objective_options
        options: dict[str, float] = dict(given) if isinstance(given, dict) else {}
        if self.objective == "perce":
            clip = {"clip_min": self.perce_clip_min, "clip_max": self.perce_clip_max}
            twice = sorted(clip.keys() & options.keys())
            if twice:
                raise ObjectiveError(
                    f"objective_options: {', '.join(twice)} of perce is the option perce_{twice[0]}"
                )
            options |= clip
        return get_objective(self.objective, **options)
