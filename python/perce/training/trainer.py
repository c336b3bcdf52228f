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

from typing import Any

import torch
from accelerate.utils import gather_object
from torch import Tensor, nn
from transformers import TrainerCallback

from perce.errors import OptionError
from perce.modeling.check import check_model
from perce.modeling.unwrap import base_model, is_peft
from perce.tokens import PreparedData
from perce.training.adapters import with_adapters
from perce.training.card import run_info
from perce.training.checkpoint import RunState
from perce.training.config import PerCEConfig
from perce.training.evaluating import named_data
from perce.training.interrupt import InterruptCallback
from perce.training.metrics import IntervalMetrics
from perce.training.stepping import OptimizerStep, SteppingTrainer


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
        self._step = OptimizerStep(n=torch.ones(()))
        self._exams: dict[str, Tensor] = {}
        self._interrupt = InterruptCallback(self._anywhere)
        self.add_callback(self._interrupt)

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C stopped the last run."""
        return self._interrupt.interrupted

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
