"""``perce train``: train an adapter or a model on prepared data."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from perce.cli.options import add_training_command

HELP = """\
usage: perce train --config train.yaml [--OPTION VALUE ...]

Try it:
  perce train --model M --data prepared/ --output_dir runs/perce --use_peft

Options come from the YAML file (one `name: value` a line), then from the command line, which goes
over it. Underscores and dashes are the same.

what to train
  --model M                    folder of a model, or its name on the hub
  --data DIR                   prepared folder, split train (made by perce prepare)
  --eval_data DIR              split to evaluate on; val beside the training split if there is one
  --output_dir DIR             checkpoints, and the result at its root
  --dtype float32              dtype of the weights
  --resume_from_checkpoint X   True for the last checkpoint of output_dir, or a checkpoint's folder

the weighting
  --objective perce            ce, perce, longce, lossce, entce, dft, nextquill, or one of your own
  --perce_clip_min 0.8         smallest weight of perce
  --perce_clip_max 5.0         largest weight of perce
  --objective_options JSON     options of another objective, as {"gamma": 3}
  --normalize tokens           divide the loss by tokens or by weight
  --ce_warmup_steps 0          steps of plain cross-entropy first
  --perce_weight_source self   whose log-probabilities weigh: self, reference, column
  --perce_reference base       frozen reference: the base under the adapters, or a folder
  --perce_scores FILE          the column: what perce score wrote about the same data
  --refresh_every 1            epochs between two profile-free passes
  --ledger true                keep each token's PIR over training; see perce ledger

batches
  --max_tokens 16384           tokens in a packed micro-batch
  --packing true               false: per_device_train_batch_size records a micro-batch
  --gradient_accumulation_steps 1

adapters (all weights train without)
  --use_peft                   train a LoRA adapter; the learning rate is then 2e-4 unless given
  --lora_r 16  --lora_alpha 32  --lora_dropout 0.0  --lora_target_modules all-linear

for perce-serve (pip install perce-serving)
  --publish user=ID            publish the finished adapter as that user's current one
  --store DIR                  folder of the store
  --max_lora_rank 64           highest rank that the server takes

often wanted
  --learning_rate 2e-5  --num_train_epochs 3  --max_steps N  --seed 42
  --bf16                       autocast, on CPUs too
  --gradient_checkpointing     less memory, more time
  --eval_strategy steps  --eval_steps N
  --metric_for_best_model nll_personal  --load_best_model_at_end
  --personal_threshold 0.5     PIR in nats above which evaluation calls a token personal
  --logging_steps 10  --save_steps 500  --save_total_limit N  --report_to none

Every other option of transformers.TrainingArguments works, too, but those that perce's own loader
makes meaningless, which are refused by name.  --help_all lists them all.
"""


def add_parser(subparsers: Any) -> None:
    """Add the subcommand; its options are parsed later, as they need transformers."""
    add_training_command(
        subparsers, "train", summary="train an adapter or a model on prepared data", run=run
    )


def run(args: argparse.Namespace) -> int:
    """Train. Returns 0, or 130 if Ctrl-C stopped it after saving."""
    arguments: Sequence[str] = args.arguments
    if not arguments or {"-h", "--help"} & set(arguments):
        print(HELP, end="")
        return 0
    from transformers.utils.logging import disable_progress_bar

    from perce.publishing import publishing_user
    from perce.report.characters import visible
    from perce.training.run import ScriptArguments, make_parser, parse_arguments, train

    if not sys.stderr.isatty():
        disable_progress_bar()
    if {"--help_all", "--help-all"} & set(arguments):
        make_parser().print_help()
        return 0
    script, config, lora = parse_arguments(arguments, ScriptArguments)
    trainer = train(script, config, lora)
    output_dir = trainer.args.output_dir
    if trainer.interrupted:
        print(
            f"interrupted after saving to {output_dir}: "
            "continue with the same command and --resume_from_checkpoint True",
            file=sys.stderr,
        )
        return 130
    print(f"saved to {output_dir}")
    if script.publish is not None:
        user = visible(publishing_user(script.publish))
        print(f"published into {script.store}: the current adapter of user {user}")
    return 0
