"""A trainer whose evaluation tells personal tokens from the others."""

# ruff: noqa: ARG002 - the signatures are those of transformers

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from torch import Tensor
from transformers import TrainerControl
from transformers.trainer_utils import speed_metrics

from perce.errors import OptionError, TrainingError
from perce.modeling.head import ModelCheck
from perce.modeling.modes import evaluation_mode
from perce.modeling.unwrap import is_peft, without_parallel
from perce.pairs import PairLoader
from perce.tokens import PreparedData
from perce.training.metrics import IntervalMetrics
from perce.training.personal import METRICS, nll_metrics, nll_sums, personal_tokens
from perce.training.saving import SavingTrainer

logger = logging.getLogger(__name__)


class EvaluatingTrainer(SavingTrainer):
    """Evaluates on prepared data: plain CE, and apart for what the base model finds personal.

    Attributes:
        model_check: how the model is run.
    """

    model_check: ModelCheck
    control: TrainerControl
    _interval: IntervalMetrics
    _exams: dict[str, Tensor]

    def get_eval_dataloader(self, eval_dataset: PreparedData | None = None) -> PairLoader:
        """All records of the evaluation data in a fixed order, this rank's share."""
        data: PreparedData = self.eval_dataset if eval_dataset is None else eval_dataset
        longest = int(data.core.lengths()[0].max())
        return PairLoader(
            data,
            max_tokens=max(self.args.max_tokens, longest),
            shuffle=False,
            rank=self.args.process_index,
            world_size=self.args.world_size,
        )

    def set_exams(self) -> None:
        """Find the personal tokens of all evaluation data, before anything changes the base model.

        Raises:
            OptionError: ``metric_for_best_model`` is none that evaluation gives.
        """
        metric = self.args.metric_for_best_model
        for name, data in named_data(self.eval_dataset).items():
            if self._sum(self._exam(data).sum().to(self.args.device)) == 0:
                logger.warning(
                    "no token of the evaluation data%s has a PIR over %s under the base model",
                    f" {name!r}" if name else "",
                    self.args.personal_threshold,
                )
                if metric is not None and metric.endswith("nll_personal"):
                    raise OptionError(
                        "personal_threshold",
                        f"no token has a PIR over {self.args.personal_threshold} under the base "
                        "model, so there is no nll_personal to choose by: lower it",
                    )
        sets = named_data(self.eval_dataset)
        names = [f"{name}_{m}" if name else m for name in sets for m in METRICS]
        if metric is not None and metric.removeprefix("eval_") not in names:
            raise OptionError(
                "metric_for_best_model", f"no metric {metric!r}; metrics: {', '.join(names)}"
            )

    def evaluate(
        self,
        eval_dataset: PreparedData | dict[str, PreparedData] | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Plain CE over response tokens, and apart for tokens that the base model finds personal.

        Args:
            eval_dataset: prepared data, or several by name; the trainer's own by default.
            ignore_keys: has no effect; transformers passes it.
            metric_key_prefix: in front of each metric's name.

        Returns:
            ``eval_loss``, ``eval_nll_personal``, ``eval_nll_other`` (nats a token),
            ``eval_personal_share``, and transformers' speed figures.

        Raises:
            TrainingError: fully fine-tuned weights have replaced the base model that the personal
                tokens are found with.
        """
        metrics: dict[str, float] = {}
        given = self.eval_dataset if eval_dataset is None else eval_dataset
        for name, data in named_data(given).items():
            started = time.perf_counter()
            prefix = f"{metric_key_prefix}_{name}" if name else metric_key_prefix
            exam = self._exam(data)
            with self._evaluating(data) as loader:
                sums = nll_sums(self.model_wrapped, loader, exam, **self._how())
            found = nll_metrics(self._sum(sums.to(self.args.device)).cpu(), prefix)
            wall = time.time() - (time.perf_counter() - started)
            found.update(speed_metrics(prefix, wall, num_samples=len(data)))
            self._interval.exclude(time.perf_counter() - started)
            self.log(found)
            metrics |= found
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def _exam(self, data: PreparedData) -> Tensor:
        """Which tokens are personal under the base model; found once for each data set."""
        key = str(data.meta["key"])
        if key not in self._exams:
            if self.state.global_step > 0 and not is_peft(self.model):
                raise TrainingError(
                    "evaluation data must be known before training starts when all weights train: "
                    "pass eval_dataset to PerCETrainer"
                )
            with self._base_weights(), self._evaluating(data) as loader:
                self._exams[key] = personal_tokens(
                    self.model_wrapped,
                    loader,
                    data.core.n_response_tokens,
                    threshold=self.args.personal_threshold,
                    **self._how(),
                )
        return self._exams[key]

    @contextmanager
    def _evaluating(self, data: PreparedData) -> Iterator[PairLoader]:
        loader = self.get_eval_dataloader(data)
        # The progress bar asks the handler for the loader's length.
        self.callback_handler.eval_dataloader = loader
        with evaluation_mode(self.model_wrapped), self.accelerator.autocast():
            yield loader

    def _how(self) -> dict[str, Any]:
        def step() -> None:
            self.control = self.callback_handler.on_prediction_step(
                self.args, self.state, self.control
            )

        return {"check": self.model_check, "device": self.args.device, "step": step}

    def _base_weights(self) -> AbstractContextManager[Any]:
        """The base model inside the block: adapters off, or the weights as they are."""
        if is_peft(self.model):
            disabled: AbstractContextManager[Any] = without_parallel(self.model).disable_adapter()
            return disabled
        return nullcontext()

    def _total(self, value: Tensor) -> Tensor:
        """The sum over the ranks of a tensor on the CPU."""
        return self._sum(value.to(self.args.device)).cpu()

    def _sum(self, value: Tensor) -> Tensor:
        if self.args.world_size == 1:
            return value
        total: Tensor = self.accelerator.reduce(value, "sum")
        return total


def named_data(data: PreparedData | dict[str, PreparedData] | None) -> dict[str, PreparedData]:
    """Evaluation data by name; one that is given alone has the empty name."""
    if data is None:
        return {}
    return data if isinstance(data, dict) else {"": data}
