"""The trainer: transformers' own, with PerCE's loss, its own loader, evaluation and checkpoints.

What differs from ``transformers.Trainer``, and why:

* n, what the loss is divided by, is the response tokens of the whole optimizer step over all
  micro-batches and ranks, counted from the labels the loader made.
* Bins are packed once a run; the loader handles ranks and exact resume itself.
* The profile-free pass comes first, without gradient and with dropout off.
* A loss or gradient that is not finite stops the run on all ranks and names the records.
* Checkpoints appear whole or not at all, and one that belongs to another run is refused.
"""

from __future__ import annotations

import logging
import math
from contextlib import nullcontext
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainerCallback

from perce.errors import OptionError
from perce.modeling.check import check_model
from perce.modeling.unwrap import base_model, is_peft
from perce.tokens import PreparedData
from perce.training.adapters import dropout_rate, with_adapters
from perce.training.card import run_info
from perce.training.checkpoint import check_output_dir
from perce.training.config import PerCEConfig
from perce.training.evaluating import named_data
from perce.training.fingerprint import frozen_weights, trained_weights
from perce.training.interrupt import InterruptCallback
from perce.training.metrics import IntervalMetrics
from perce.training.recording import Recorder
from perce.training.reference import REFERENCE_FILE, Ranks, reference_key, reference_scores
from perce.training.resuming import RunState
from perce.training.sources import StoredScores, WeightSource
from perce.training.stepping import OptimizerStep, SteppingTrainer

logger = logging.getLogger(__name__)

_COMPARED = (
    "learning_rate",
    "lr_scheduler_type",
    "lr_scheduler_kwargs",
    "warmup_steps",
    "optim",
    "optim_args",
    "weight_decay",
    "adam_beta1",
    "adam_beta2",
    "adam_epsilon",
    "max_grad_norm",
    "bf16",
    "fp16",
)
"""Options that change what a step does; a checkpoint silently keeps its own value of some."""


class PerCETrainer(SteppingTrainer):
    """Trains a causal language model on prepared data with a token weighting.

    Args:
        model: a transformers model, with or without PEFT adapters. Packed attention is selected
            on it for good; without segment borders it behaves as before.
        args: options.
        train_dataset: prepared data.
        eval_dataset: prepared data for evaluation during training, or several by name.
        processing_class: the model's tokenizer, checked against the data and saved with the model.
        peft_config: adapters to put on the model, a ``peft.LoraConfig`` usually.
        callbacks: of transformers.

    Attributes:
        model_check: how the model is run, and why.
        interrupted: whether Ctrl-C or SIGTERM stopped the last run.

    Raises:
        ModelError: the model cannot be run on packed rows.
        OptionError: options that do not go together with this model.
        StoreError: the data was prepared with another tokenizer.
    """

    def __init__(
        self,
        model: nn.Module,
        args: PerCEConfig,
        train_dataset: PreparedData,
        eval_dataset: PreparedData | dict[str, PreparedData] | None = None,
        processing_class: Any = None,
        peft_config: Any = None,
        callbacks: list[TrainerCallback] | None = None,
    ) -> None:
        if processing_class is not None:
            for data in (train_dataset, *named_data(eval_dataset).values()):
                data.check_tokenizer(processing_class)
        if peft_config is not None:
            model = with_adapters(model, peft_config, seed=args.seed)
        if is_peft(model) and args.gradient_checkpointing:
            base_model(model).enable_input_require_grads()
        check_output_dir(Path(args.output_dir))
        # One process drives one device; several are `accelerate launch`'s business.
        args._n_gpu = min(args.n_gpu, 1)
        super().__init__(
            model=model,
            args=args,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=processing_class,
            callbacks=callbacks,
        )
        # The loss is divided by the whole step's n already.
        self.loss_is_scaled_for_ga = True
        self.objective = args.make_objective()
        self.normalize = args.normalize or self.objective.normalize
        self._router_weight = self._find_router_weight()
        self._check_reference()
        self._check_source()
        self._warn_of_dropout()
        self._base_weights_name = frozen_weights(self.model)
        self._trained_weights_name = trained_weights(self.model)
        self.model_check = check_model(self.model)
        self._source = WeightSource()
        self._interval = IntervalMetrics()
        self._step = OptimizerStep(n=torch.ones(()))
        self._exams: dict[str, Tensor] = {}
        self._interrupt = InterruptCallback(self._anywhere)
        self.add_callback(self._interrupt)

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C or SIGTERM stopped the last run."""
        return self._interrupt.interrupted

    # ---- logging, saving ----

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, with the interval's metrics beside the training loss."""
        if "loss" in logs:
            logs |= self._interval.drain(self._total)
        super().log(logs, start_time)

    def train(
        self,
        resume_from_checkpoint: str | bool | None = None,
        trial: Any = None,
        ignore_keys_for_eval: list[str] | None = None,
    ) -> Any:
        """Train; ``interrupted`` tells afterwards whether a signal ended it.

        Args:
            resume_from_checkpoint: a checkpoint's folder, or True for the run's last one.
            trial: of a hyperparameter search.
            ignore_keys_for_eval: has no effect.

        Returns:
            transformers' ``TrainOutput``.

        Raises:
            TrainingError: the checkpoint is not whole or belongs to another run, the loss or a
                gradient is not finite, or a checkpoint cannot be written.
            LedgerError: the score ledger cannot be written.
            PackingError: a record is longer than ``max_tokens``; the message names it.
            StoreError: ``perce_scores`` are about other data.
        """
        # First: a record that is too long is found before hours of other work.
        self.get_train_dataloader()
        if self.args.eval_strategy != "no":
            self.set_exams()
        self._interval = IntervalMetrics()
        self._interrupt.install()
        try:
            return super().train(resume_from_checkpoint, trial, ignore_keys_for_eval)
        finally:
            self._interrupt.remove()
            self._stop_recording()

    def begin(self, checkpoint: Path | None) -> None:
        """Start the score ledger, or go on with it, and get the scores that make the weights."""
        args = self.args
        if self._keeps_ledger():
            self._recorder = Recorder.start(
                Path(args.output_dir),
                self.train_dataset,
                checkpoint=checkpoint,
                decay=args.ledger_decay,
                rank=args.process_index,
                world_size=args.world_size,
            )
            self.add_callback(self._recorder)
        self._source = WeightSource(
            args.perce_weight_source,
            refresh_every=args.refresh_every,
            scores=self._scores,
            ledger=None if self._recorder is None else self._recorder.ledger,
        )

    def save_parts(self, folder: Path | None) -> None:
        """Write the ledger's state into a checkpoint."""
        if self._recorder is not None:
            self._recorder.save(folder, self.state.global_step)

    def _stop_recording(self) -> None:
        if self._recorder is not None:
            self.remove_callback(self._recorder)
            self._recorder.ledger.close()
            self._recorder = None

    def run_state(self) -> RunState:
        """What this run's checkpoints belong to."""
        args, meta = self.args, self.train_dataset.meta
        steps = args.max_steps
        if steps <= 0:
            steps = math.ceil(args.num_train_epochs * self.steps_per_epoch)
        return RunState(
            data=meta["key"],
            template=meta["template_hash"],
            plan=self.get_train_dataloader().plan_hash,
            base_weights=self._base_weights_name,
            trained_weights=self._trained_weights_name,
            objective=self.objective.name,
            objective_options=dict(self.objective.options),
            normalize=self.normalize,
            ce_warmup_steps=args.ce_warmup_steps,
            perce_weight_source=args.perce_weight_source if self._reads_scores else "self",
            scores=self._scores_key,
            refresh_every=args.refresh_every if self._reads_scores else 1,
            ledger=args.ledger_decay if self._keeps_ledger() else None,
            arguments={name: _plain(getattr(args, name)) for name in _COMPARED},
            gradient_accumulation_steps=args.gradient_accumulation_steps,
            world_size=args.world_size,
            threads=torch.get_num_threads(),
            max_steps=steps,
        )

    # ---- scores ----

    def _keeps_ledger(self) -> bool:
        """Only the model's own profile-free pass makes scores worth remembering."""
        own = self.args.perce_weight_source == "self"
        return bool(self.args.ledger and own and self._reads_scores)

    @property
    def _reads_scores(self) -> bool:
        return "logp_without" in self.objective.needs

    @property
    def _reference(self) -> str | None:
        if self.args.perce_weight_source != "reference" or not self._reads_scores:
            return None
        return str(self.args.perce_reference or "base")

    @cached_property
    def _scores_key(self) -> str:
        if self._reference is not None:
            return reference_key(self._reference, self._base_weights_name)
        return "" if self._scores is None else self._scores.key

    @cached_property
    def _scores(self) -> StoredScores | None:
        """The scores that the options name, read or computed once."""
        args, data = self.args, self.train_dataset
        if self._reference is None:
            if args.perce_scores is None or not self._reads_scores:
                return None
            return StoredScores.read(args.perce_scores, data)
        base = self._base_weights() if self._reference == "base" else nullcontext()
        with base, self._evaluating(data) as loader:
            return reference_scores(
                self._reference,
                self.model,
                data,
                Path(args.output_dir) / REFERENCE_FILE,
                key=self._scores_key,
                loader=loader,
                ranks=Ranks(
                    anywhere=self._anywhere,
                    total=self._total,
                    saves=args.should_save,
                ),
            )

    def run_info(self) -> dict[str, Any]:
        """What ``perce.json`` and the model card tell."""
        args, meta = self.args, self.train_dataset.meta
        return run_info(
            base_model=str(base_model(self.model).config.name_or_path or ""),
            prompt=self.train_dataset.recipe.to_dict(),
            data={
                "source": meta["source"]["name"],
                "split": meta["source"]["split"],
                "records": len(self.train_dataset),
                "users": len(set(self.train_dataset.user_ids)),
                "response tokens": self.train_dataset.core.n_response_tokens,
            },
            training={
                "Objective": self.objective.name,
                "Objective's options": dict(self.objective.options),
                "Normalised by": self.normalize,
                "CE warm-up steps": args.ce_warmup_steps,
                "Optimizer steps": self.state.global_step,
                "Learning rate": args.learning_rate,
                "Seed": args.seed,
            },
        )

    # ---- what does not go together ----

    def _find_router_weight(self) -> float:
        config = base_model(self.model).config.get_text_config()
        if not getattr(config, "output_router_logits", False):
            return 0.0
        if self.normalize == "weight":
            raise OptionError(
                "normalize",
                "'weight' rescales a step's gradients at its end, and a mixture of experts' router "
                "loss with them: use 'tokens', or set output_router_logits to false in the model",
            )
        return float(getattr(config, "router_aux_loss_coef", 0.0))

    def _check_reference(self) -> None:
        if "logp_reference" in self.objective.needs and not is_peft(self.model):
            raise OptionError(
                "objective",
                f"{self.objective.name!r} needs a frozen reference, which is the base model under "
                "its adapters: train with PEFT (use_peft)",
            )

    def _check_source(self) -> None:
        args, objective = self.args, self.objective
        if args.perce_weight_source == "self" or not self._reads_scores:
            return
        others = sorted(objective.needs - {"logp_without"})
        if others:
            raise OptionError(
                "perce_weight_source",
                f"objective {objective.name!r} also needs {', '.join(others)}, which a source "
                "other than 'self' does not tell: use 'self'",
            )
        if self._reference == "base" and not is_peft(self.model):
            raise OptionError(
                "perce_reference",
                "without adapters no frozen base is left once training has begun: give a model's "
                "folder, or train with PEFT (use_peft)",
            )

    def _warn_of_dropout(self) -> None:
        if not self._reads_scores or self.args.perce_weight_source != "self":
            return
        rate = dropout_rate(self.model)
        if rate > 0:
            logger.warning(
                "the model's own dropout (%s) biases PIR, whose two passes then differ by more "
                "than the profile: set it to 0 in the model's config",
                rate,
            )


def _plain(value: Any) -> Any:
    """An option as JSON has it."""
    return value.value if isinstance(value, Enum) else value
