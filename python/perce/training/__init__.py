"""Training with PerCE: the trainer, its options, and the whole of ``perce train``."""

from perce.training.config import PerCEConfig
from perce.training.run import LoraArguments, ScriptArguments, train
from perce.training.trainer import PerCETrainer

__all__ = ["LoraArguments", "PerCEConfig", "PerCETrainer", "ScriptArguments", "train"]
