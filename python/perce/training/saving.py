"""A ``transformers.Trainer`` whose checkpoints appear whole, and know which run they belong to."""

# ruff: noqa: ARG002 - the signatures are those of transformers

from __future__ import annotations

import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from transformers import Trainer

from perce.errors import TrainingError
from perce.files import alone_in
from perce.modeling.unwrap import is_peft
from perce.training.card import write_card
from perce.training.checkpoint import (
    STAGING,
    find_checkpoint,
    publish,
    recover,
    rotate,
    writing,
)
from perce.training.resuming import RunState


class SavingTrainer(Trainer):  # type: ignore[misc]
    """Writes checkpoints under another name and renames them; checks one before resuming from it.

    A subclass says what its checkpoints belong to (:meth:`run_state`) and what to tell about them
    (:meth:`run_info`).
    """

    _staging: Path | None = None

    def run_state(self) -> RunState:
        """What this run and its checkpoints must have in common."""
        raise NotImplementedError

    def run_info(self) -> dict[str, Any]:
        """What to write beside saved weights; see :func:`perce.training.card.run_info`."""
        raise NotImplementedError

    def begin(self, checkpoint: Path | None) -> None:
        """Called before training, once the checkpoint to resume from has been checked."""

    def save_parts(self, folder: Path | None) -> None:
        """Write what else a checkpoint consists of; every rank calls this.

        Args:
            folder: the checkpoint's folder, or None on ranks that do not save.
        """

    def train(
        self,
        resume_from_checkpoint: str | bool | None = None,
        trial: Any = None,
        ignore_keys_for_eval: list[str] | None = None,
    ) -> Any:
        """Train, after checking the checkpoint to resume from, if any.

        Raises:
            TrainingError: the checkpoint is not whole or belongs to another run, or another process
                trains into the same folder.
        """
        output_dir = Path(self.args.output_dir)
        with alone_in(output_dir) if self.args.should_save else nullcontext(True) as alone:
            if not alone:
                raise TrainingError(
                    f"another training is at work in {output_dir}: wait for it, or choose another "
                    "output_dir"
                )
            return self._train(output_dir, resume_from_checkpoint, trial, ignore_keys_for_eval)

    def _train(
        self,
        output_dir: Path,
        resume_from_checkpoint: str | bool | None,
        trial: Any,
        ignore_keys_for_eval: list[str] | None,
    ) -> Any:
        if self.args.should_save:
            recover(output_dir)
        self.accelerator.wait_for_everyone()
        checkpoint = None
        if resume_from_checkpoint:
            checkpoint = find_checkpoint(resume_from_checkpoint, output_dir)
            self.run_state().check(checkpoint)
        self.begin(checkpoint)
        resumed = None if checkpoint is None else str(checkpoint)
        return super().train(resumed, trial, ignore_keys_for_eval)

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._staging or super()._get_output_dir(trial))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        run_dir = Path(super()._get_output_dir(trial))
        name = f"checkpoint-{self.state.global_step}"
        staging = run_dir / STAGING
        main = self.args.should_save
        self._staging = staging
        try:
            with writing(name):
                super()._save_checkpoint(model, trial)
                self.save_parts(staging / name if main else None)
                self.accelerator.wait_for_everyone()
                if main:
                    self._name_best(run_dir)
                    self.state.save_to_json(str(staging / name / "trainer_state.json"))
                    self.run_state().write(staging / name)
                    publish(staging / name, run_dir / name)
        finally:
            self._staging = None
            if main:
                shutil.rmtree(staging, ignore_errors=True)
        self._name_best(run_dir)
        if main:
            with writing(name):
                rotate(
                    run_dir,
                    self.args.save_total_limit,
                    newest=run_dir / name,
                    best=self.state.best_model_checkpoint,
                )
        if self.args.push_to_hub:
            super()._push_from_checkpoint(str(run_dir / name))
        self.accelerator.wait_for_everyone()

    def _name_best(self, run_dir: Path) -> None:
        # transformers looks for the best one where it has just written: in the staging folder.
        if self.state.best_global_step:
            best = run_dir / f"checkpoint-{self.state.best_global_step}"
            self.state.best_model_checkpoint = str(best)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        """Nothing yet: the folder is uploaded once it has its name."""

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        super()._save(output_dir, state_dict)
        self.create_model_card(Path(output_dir or self.args.output_dir))

    def create_model_card(self, folder: Path | None = None, **kwargs: Any) -> None:
        """Write ``README.md`` and ``perce.json`` into a folder of weights, the run's by default."""
        if self.args.should_save:
            where = Path(folder or self.args.output_dir)
            write_card(where, self.run_info(), is_adapter=is_peft(self.model))
