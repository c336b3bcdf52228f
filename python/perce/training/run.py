"""``perce train``: options from a YAML file and the command line, then one run."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, TypeVar, cast

import yaml  # type: ignore[import-untyped]
from transformers import HfArgumentParser

from perce.errors import OptionError
from perce.modeling.loading import load_model, load_tokenizer
from perce.publishing import MAX_LORA_RANK, Publisher, check_options, publishing_user
from perce.tokens import PreparedData
from perce.training.checkpoint import check_output_dir, writing
from perce.training.config import PerCEConfig
from perce.training.trainer import PerCETrainer

LORA_LEARNING_RATE = 2e-4
"""Taken with ``use_peft`` when no learning rate is given: adapters want about ten times that of all
weights."""


@dataclass
class ScriptArguments:
    """What to train, and on what.

    Attributes:
        model: a model's folder, or its name on the hub.
        data: prepared folder; its split ``train``, or the folder of a split itself.
        eval_data: prepared folder of a split to evaluate on; ``val`` beside the training split if
            there is one. Evaluation runs when ``eval_strategy`` says so.
        dtype: dtype of the model's weights. ``bf16`` (autocast) is another matter.
        publish: ``user=ID``: publish the adapter as that user's when it is trained.
        store: folder of the store into which it is published.
        max_lora_rank: highest rank that the server of that store takes.

    Raises:
        OptionError: ``publish`` without ``store`` or the other way round, or of another form.
    """

    model: str | None = field(default=None, metadata={"help": "Folder or hub name of the model."})
    data: str | None = field(default=None, metadata={"help": "Prepared folder."})
    eval_data: str | None = field(default=None, metadata={"help": "Prepared split to evaluate on."})
    dtype: str = field(default="float32", metadata={"help": "Dtype of the model's weights."})
    publish: str | None = field(
        default=None, metadata={"help": "user=ID: publish the adapter as that user's."}
    )
    store: str | None = field(
        default=None, metadata={"help": "Folder of the store into which to publish."}
    )
    max_lora_rank: int = field(
        default=MAX_LORA_RANK, metadata={"help": "Highest rank that the store's server takes."}
    )

    def __post_init__(self) -> None:
        check_options(publish=self.publish is not None, store=self.store)
        if self.publish is not None:
            publishing_user(self.publish)


@dataclass
class LoraArguments:
    """Adapters, by PEFT's names.

    Attributes:
        use_peft: train a LoRA adapter instead of all weights.
        lora_r: rank.
        lora_alpha: scale; the update is multiplied by ``lora_alpha / lora_r``.
        lora_dropout: dropout on the adapter's input; above 0 it biases PIR.
        lora_target_modules: names of the layers to adapt, or "all-linear", which leaves the head.
    """

    use_peft: bool = field(default=False, metadata={"help": "Train a LoRA adapter."})
    lora_r: int = field(default=16, metadata={"help": "Rank of the adapter."})
    lora_alpha: int = field(default=32, metadata={"help": "Scale of the adapter."})
    lora_dropout: float = field(default=0.0, metadata={"help": "Dropout; above 0 it biases PIR."})
    lora_target_modules: list[str] = field(
        default_factory=lambda: ["all-linear"], metadata={"help": "Layers to adapt."}
    )

    def __post_init__(self) -> None:
        if self.lora_r < 1:
            raise OptionError("lora_r", f"{self.lora_r}: give at least 1")
        if not 0 <= self.lora_dropout < 1:
            raise OptionError("lora_dropout", f"{self.lora_dropout}: give 0 up to below 1")

    def peft_config(self) -> Any:
        """The ``LoraConfig``, or None when all weights train."""
        if not self.use_peft:
            return None
        from peft import LoraConfig

        modules = self.lora_target_modules
        return LoraConfig(
            task_type="CAUSAL_LM",
            r=self.lora_r,
            lora_alpha=self.lora_alpha,
            lora_dropout=self.lora_dropout,
            target_modules=modules[0] if modules == ["all-linear"] else modules,
        )


Script = TypeVar("Script")
Made = TypeVar("Made")


def parse_arguments(
    arguments: Sequence[str],
    script: type[Script] = ScriptArguments,  # type: ignore[assignment]
    *,
    prog: str = "perce train",
    defaults: Mapping[str, Any] | None = None,
) -> tuple[Script, PerCEConfig, LoraArguments]:
    """Read options: those of ``--config FILE`` first, then the command line over them.

    Args:
        arguments: as typed after the command.
        script: dataclass of the command's own options.
        prog: the command, for messages.
        defaults: of the command, where they are others than those of training.

    Raises:
        OptionError: an unknown option (the nearest known ones are named), a value of the wrong
            kind, or a file that is not YAML.
        ObjectiveError: an unknown objective.
    """
    parser = make_parser(script, prog=prog)
    parser.set_defaults(**(defaults or {}))
    config = _config_file(arguments)
    given: set[str] = set()
    if config is not None:
        settings = _read_config(Path(config), parser)
        parser.set_defaults(**settings)
        given |= settings.keys()
    namespace, unknown = parser.parse_known_args(list(arguments))
    if unknown:
        _unknown(unknown[0].split("=")[0], parser, "")
    typed = {argument.split("=")[0].lstrip("-").replace("-", "_") for argument in arguments}
    if namespace.use_peft and "learning_rate" not in given | typed:
        namespace.learning_rate = LORA_LEARNING_RATE
    if namespace.disable_tqdm is None and not sys.stderr.isatty():
        # In a file or a pipe a progress bar is a line a step; the log tells as much.
        namespace.disable_tqdm = True
    values = vars(namespace)

    def make(kind: type[Made]) -> Made:
        fields = dataclasses.fields(cast("type[Any]", kind))
        try:
            return kind(**{f.name: values[f.name] for f in fields if f.init})
        except OptionError as error:
            if error.option not in given - typed:
                raise
            # Found only now, together with the other options: still it is the file's.
            message = str(error).removeprefix(f"{error.option}: ")
            raise OptionError(error.option, f"{message} (in {config})") from None

    return make(script), make(PerCEConfig), make(LoraArguments)


def make_parser(script: type = ScriptArguments, *, prog: str = "perce train") -> HfArgumentParser:
    """The parser of all options; building it takes transformers' import, a second or two.

    Args:
        script: dataclass of the command's own options.
        prog: the command, for messages.
    """
    parser = _Parser((script, PerCEConfig, LoraArguments), prog=prog, allow_abbrev=False)
    parser.add_argument("--config", help="YAML file of options; the command line goes over it.")
    return parser


def train(
    script: ScriptArguments, config: PerCEConfig, lora: LoraArguments | None = None
) -> PerCETrainer:
    """One run: load, train, save the result at the root of ``output_dir``, publish it if asked.

    After Ctrl-C the checkpoint is there, the root is not written, and ``trainer.interrupted`` says
    so.

    Args:
        script: model and data.
        config: training options; ``resume_from_checkpoint`` among them.
        lora: adapters; all weights train without.

    Returns:
        The trainer, after training.

    Raises:
        OptionError: model or data is not given, or an option cannot work.
        MissingExtraError: to publish without perce-serving.
        PublishError: the adapter could not be published; before training where that can be told.
        PerceError: whatever else is wrong with model, data or checkpoint, by its own type.
    """
    for name in ("model", "data"):
        if getattr(script, name) is None:
            raise OptionError(
                name, f"is missing: give --{name}, or {name}: in the file of --config"
            )
    assert script.model is not None
    assert script.data is not None
    check_output_dir(Path(config.output_dir))
    lora = lora or LoraArguments()
    publisher = _publisher(script, config, lora)
    data = PreparedData.open(script.data)
    held_out = _held_out(script, data)
    if config.eval_strategy != "no" and held_out is None:
        raise OptionError(
            "eval_data", f"is missing, and {script.data} has no val: give it, or no eval_strategy"
        )
    tokenizer = load_tokenizer(script.model)
    data.check_tokenizer(tokenizer)
    device = "cpu" if config.use_cpu else None
    model = load_model(script.model, dtype=script.dtype, device=device)
    trainer = PerCETrainer(
        model=model,
        args=config,
        train_dataset=data,
        eval_dataset=held_out,
        processing_class=tokenizer,
        peft_config=lora.peft_config(),
    )
    if publisher is not None:
        publisher.rehearse(trainer.model.save_pretrained)
    trainer.train(resume_from_checkpoint=_resume(config.resume_from_checkpoint))
    if not trainer.interrupted:
        with writing(f"the result in {config.output_dir}"):
            trainer.save_model()
            trainer.save_state()
        if publisher is not None:
            publisher.publish(publishing_user(str(script.publish)), config.output_dir)
    return trainer


def _publisher(
    script: ScriptArguments, config: PerCEConfig, lora: LoraArguments
) -> Publisher | None:
    """Who publishes the adapter: one process, if anybody."""
    if script.publish is None or script.store is None:
        return None
    if not lora.use_peft:
        raise OptionError("publish", "publishes adapters: give use_peft as well")
    if config.process_index > 0:
        return None
    publisher = Publisher(
        store=script.store, base=str(script.model), max_lora_rank=script.max_lora_rank
    )
    publisher.check_user(publishing_user(script.publish))
    return publisher


def _held_out(script: ScriptArguments, data: PreparedData) -> PreparedData | None:
    if script.eval_data is not None:
        return PreparedData.open(script.eval_data, split="val")
    beside = data.path.parent / "val"
    return PreparedData.open(beside) if beside.is_dir() and beside != data.path else None


def _resume(option: str | bool | None) -> str | bool | None:
    words: dict[Any, bool | None] = {"true": True, "false": None, "": None}
    return words.get(str(option).lower(), option) if option is not None else None


class _Parser(HfArgumentParser):  # type: ignore[misc]
    """Reports one line as an error instead of two hundred lines of usage."""

    def error(self, message: str) -> NoReturn:
        raise OptionError("options", message)


def _options(parser: HfArgumentParser) -> dict[str, Any]:
    """The parser's actions by the option's name."""
    actions: dict[str, Any] = {}
    for action in parser._actions:
        # The first is the option itself, a later one its --no_ form.
        actions.setdefault(action.dest, action)
    del actions["help"], actions["config"]
    return actions


def _config_file(arguments: Sequence[str]) -> str | None:
    for position, argument in enumerate(arguments):
        if argument.startswith("--config="):
            return argument.removeprefix("--config=")
        if argument == "--config":
            if position + 1 == len(arguments):
                raise OptionError("config", "give a YAML file after it")
            return arguments[position + 1]
    return None


def _read_config(path: Path, parser: HfArgumentParser) -> dict[str, Any]:
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise OptionError("config", f"cannot read {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise OptionError("config", f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(settings, dict | None):
        raise OptionError("config", f"{path} holds no options: write one `name: value` a line")
    known = _options(parser)
    values: dict[str, Any] = {}
    for name, value in (settings or {}).items():
        plain = str(name).replace("-", "_")
        if plain not in known:
            _unknown(str(name), parser, f" in {path}")
        if isinstance(value, list) and known[plain].nargs != "+":
            raise OptionError(plain, f"{value} in {path}: give one value")
        if isinstance(value, dict):
            values[plain] = value
        elif value is not None:
            listed = [
                _convert(parser, known[plain], str(one), path)
                for one in (value if isinstance(value, list) else [value])
            ]
            values[plain] = listed if known[plain].nargs == "+" else listed[0]
    return values


def _convert(parser: HfArgumentParser, action: Any, text: str, path: Path) -> Any:
    """A value of the file, converted and checked just as on the command line."""
    try:
        value = parser._get_value(action, text)
        parser._check_value(action, value)
    except argparse.ArgumentError as error:
        raise OptionError(action.dest, f"{error.message} (in {path})") from None
    return value


def _unknown(name: str, parser: HfArgumentParser, where: str) -> NoReturn:
    plain = name.lstrip("-").replace("-", "_")
    near = difflib.get_close_matches(plain, list(_options(parser)), n=3)
    hint = f"did you mean {', '.join(near)}?" if near else f"see {parser.prog} --help"
    raise OptionError(name, f"unknown option{where}; {hint}")
