"""The trainer: transformers' own, with PerCE's loss, its own loader, evaluation and checkpoints.

What differs from ``transformers.Trainer``, and why:

* n, what the loss is divided by, is the response tokens of the whole optimizer step over all
  micro-batches and ranks, counted from the labels the loader made.
* Bins are packed once a run; the loader handles ranks and exact resume itself.
* The profile-free pass comes first, without gradient and with dropout off.
* A loss that is not finite stops the run and names the records.
* Checkpoints appear whole or not at all, and one that belongs to another run is refused.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import Tensor, nn
from transformers import TrainerCallback

from perce.errors import OptionError, TrainingError
from perce.modeling.check import check_model, check_stream
from perce.modeling.head import response_logp, weighted_loss
from perce.modeling.modes import evaluation_mode
from perce.modeling.unwrap import base_model, is_peft
from perce.objectives import Objective, get_objective
from perce.ops import WeightedCE
from perce.pairs import PairBatch, PairLoader
from perce.tokens import PreparedData
from perce.training.adapters import with_adapters
from perce.training.card import run_info
from perce.training.checkpoint import RunState
from perce.training.config import PerCEConfig
from perce.training.evaluating import EvaluatingTrainer, named_data
from perce.training.interrupt import InterruptCallback
from perce.training.metrics import IntervalMetrics

logger = logging.getLogger(__name__)

_NAMED = 5
"""Records that an error about a broken loss names; more are counted."""


@dataclass(slots=True)
class _Step:
    """The optimizer step under way: its tokens, and what its micro-batches gave so far."""

    n: Tensor
    counts: list[int] = field(default_factory=list)
    counting: int = 1
    losses: list[Tensor] = field(default_factory=list)
    sum_weights: list[Tensor] = field(default_factory=list)
    records: list[Tensor] = field(default_factory=list)


class PerCETrainer(EvaluatingTrainer):
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
        interrupted: whether Ctrl-C stopped the last run.

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
        self.model_check = check_model(self.model)
        self._interval = IntervalMetrics()
        self._step = _Step(n=torch.ones(()))
        self._loader: PairLoader | None = None
        self._exams: dict[str, Tensor] = {}
        self._interrupt = InterruptCallback(self._anywhere)
        self.add_callback(self._interrupt)

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C stopped the last run."""
        return self._interrupt.interrupted

    # ---- data ----

    def get_train_dataloader(self) -> PairLoader:
        """The loader of this rank; one for all epochs and calls, as its bins are packed once."""
        if self._loader is None:
            args = self.args
            self._loader = PairLoader(
                self.train_dataset,
                packing=args.packing,
                max_tokens=args.max_tokens,
                per_device_train_batch_size=args.per_device_train_batch_size,
                short_ratio=args.short_ratio,
                seed=args.seed if args.data_seed is None else args.data_seed,
                rank=args.process_index,
                world_size=args.world_size,
                # A step's batches are all drawn before the first is used.
                ring_size=args.gradient_accumulation_steps + 2,
            )
        return self._loader

    def get_batch_samples(
        self, epoch_iterator: Iterator[PairBatch], num_batches: int, device: torch.device
    ) -> tuple[list[PairBatch], Tensor]:
        """Draw one optimizer step's micro-batches and count n over all of them and all ranks."""
        started = time.perf_counter()
        batches = list(islice(epoch_iterator, num_batches))
        self._interval.wait(time.perf_counter() - started)
        for batch in batches:
            check_stream(self.model, batch.with_profile)
        counts = [batch.num_items for batch in batches]
        n = self._sum(torch.tensor(sum(counts), device=device))
        self._step = _Step(n=n, counts=counts)
        if self._router_weight:
            mine = torch.tensor(sum(count > 0 for count in counts), device=device)
            self._step.counting = int(self._sum(mine))
        return batches, n

    def _prepare_inputs(self, inputs: PairBatch) -> PairBatch:
        return inputs.to(self.args.device, non_blocking=True)

    def _track_num_input_tokens(self, inputs: PairBatch) -> None:
        if self.args.include_num_input_tokens_seen != "no":
            tokens = torch.tensor(inputs.with_profile.input_ids.numel(), device=self.args.device)
            self.state.num_input_tokens_seen += int(self._sum(tokens))

    def floating_point_ops(self, inputs: PairBatch) -> float:
        """Estimated as 6 a parameter and with-profile token, 2 for a profile-free one."""
        parameters: int = base_model(self.model).num_parameters(exclude_embeddings=True)
        with_profile = inputs.with_profile.input_ids.numel()
        without = inputs.without_profile.input_ids.numel() if self._needs("logp_without") else 0
        return float(parameters * (6 * with_profile + 2 * without))

    # ---- one step ----

    def compute_loss(
        self,
        model: nn.Module,
        inputs: PairBatch,
        return_outputs: bool = False,
        num_items_in_batch: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, WeightedCE]:
        """The weighted loss of one micro-batch, times the number of ranks.

        Args:
            model: as wrapped for training.
            inputs: the micro-batch.
            return_outputs: also return the per-token results.
            num_items_in_batch: response tokens of the optimizer step, over all ranks.

        Returns:
            float32 0-d; ranks' gradients are averaged, hence the factor.
        """
        objective = self._current_objective()
        result = weighted_loss(
            model,
            inputs.with_profile,
            inputs.labels,
            objective=objective,
            segment=inputs.segment,
            num_items=num_items_in_batch,
            # By the weights' sum only once it is known, after the step's last micro-batch.
            normalize="tokens",
            router_weight=self._router_share(),
            check=self.model_check,
            **self._signals(model, inputs),
        )
        self._interval.add(inputs, result, objective)
        self._step.sum_weights.append(result.sum_weights)
        self._step.records.append(inputs.records)
        loss = result.loss * self.args.world_size
        return (loss, result) if return_outputs else loss

    def training_step(
        self, model: nn.Module, inputs: PairBatch, num_items_in_batch: Tensor | None = None
    ) -> Tensor:
        """Forward and backward of one micro-batch; after the last, check and normalise the step."""
        loss: Tensor = super().training_step(model, inputs, num_items_in_batch)
        step = self._step
        step.losses.append(loss)
        if len(step.losses) < len(step.counts):
            return loss
        self._stop_if_not_finite()
        if self.normalize != "weight":
            return loss
        total = self._sum(torch.stack(step.sum_weights).sum())
        factor = torch.where(total > 0, step.n / total, 1.0)
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(factor)
        # What is logged is the sum over the step, so the correction comes with its last part.
        so_far = torch.stack(step.losses).sum()
        return factor * so_far - (so_far - loss)

    def _signals(self, model: nn.Module, batch: PairBatch) -> dict[str, Tensor]:
        """No-grad passes that the objective needs, dropout off; first, for lower peak memory."""
        signals: dict[str, Tensor] = {}
        needed = [name for name in ("logp_without", "logp_reference") if self._needs(name)]
        if not needed:
            return signals
        with evaluation_mode(model):
            if "logp_without" in needed:
                signals["logp_without"] = response_logp(
                    model, batch.without_profile, batch.labels, check=self.model_check
                )
            if "logp_reference" in needed:
                with self._base_weights():
                    signals["logp_reference"] = response_logp(
                        model, batch.with_profile, batch.labels, check=self.model_check
                    )
        return signals

    def _router_share(self) -> float:
        """Factor on this micro-batch's router loss: the step's is the mean, repeats left out."""
        step = self._step
        repeat = bool(step.counts) and step.counts[len(step.losses)] == 0
        return 0.0 if repeat else self._router_weight / step.counting

    def _current_objective(self) -> Objective:
        warm = self.state.global_step < self.args.ce_warmup_steps
        return get_objective("ce") if warm else self.objective

    def _needs(self, signal: str) -> bool:
        return signal in self._current_objective().needs

    def _stop_if_not_finite(self) -> None:
        # The step's one wait for the device, after its last backward and before the optimizer.
        finite = torch.stack(self._step.losses).isfinite().tolist()
        if all(finite):
            return
        broken = [
            int(record)
            for good, records in zip(finite, self._step.records, strict=True)
            for record in ([] if good else records)
        ]
        names = ", ".join(repr(self.train_dataset.record_ids[record]) for record in broken[:_NAMED])
        more = f" and {len(broken) - _NAMED} more" if len(broken) > _NAMED else ""
        raise TrainingError(
            f"the loss is not finite at step {self.state.global_step + 1}, in the micro-batch of "
            f"records {names}{more}: lower learning_rate, or look at these records "
            "(perce inspect --record)"
        )

    # ---- logging, saving ----

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, with the interval's metrics beside the training loss."""
        if "loss" in logs:
            logs |= self._interval.drain(self._gather)
        super().log(logs, start_time)

    def train(
        self,
        resume_from_checkpoint: str | bool | None = None,
        trial: Any = None,
        ignore_keys_for_eval: list[str] | None = None,
    ) -> Any:
        """Train; ``interrupted`` tells afterwards whether Ctrl-C ended it.

        Args:
            resume_from_checkpoint: a checkpoint's folder, or True for the run's last one.
            trial: of a hyperparameter search.
            ignore_keys_for_eval: has no effect.

        Returns:
            transformers' ``TrainOutput``.

        Raises:
            TrainingError: the checkpoint is not whole or belongs to another run, the loss is not
                finite, or a checkpoint cannot be written.
        """
        if self.args.eval_strategy != "no":
            self.set_exams()
        self._interval = IntervalMetrics()
        self._interrupt.install()
        try:
            return super().train(resume_from_checkpoint, trial, ignore_keys_for_eval)
        finally:
            self._interrupt.remove()

    def run_state(self) -> RunState:
        """What this run's checkpoints belong to."""
        args, meta = self.args, self.train_dataset.meta
        return RunState(
            data=meta["key"],
            template=meta["template_hash"],
            plan=self.get_train_dataloader().plan_hash,
            objective=self.objective.name,
            objective_options=dict(self.objective.options),
            normalize=self.normalize,
            ce_warmup_steps=args.ce_warmup_steps,
            gradient_accumulation_steps=args.gradient_accumulation_steps,
            world_size=args.world_size,
            threads=torch.get_num_threads(),
        )

    def run_info(self) -> dict[str, Any]:
        """What ``perce.json`` and the model card tell."""
        args, meta = self.args, self.train_dataset.meta
        return run_info(
            base_model=str(base_model(self.model).config.name_or_path or ""),
            template=meta["template"],
            template_hash=meta["template_hash"],
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

    def _anywhere(self, flag: bool) -> bool:
        return bool(self._sum(torch.tensor(int(flag), device=self.args.device)))

    def _gather(self, mine: dict[str, Any]) -> list[dict[str, Any]]:
        if self.args.world_size == 1:
            return [mine]
        gathered: list[dict[str, Any]] = gather_object([mine])
        return gathered

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
