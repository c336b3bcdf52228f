"""How large the demo is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoSettings:
    """Sizes and options; the defaults take a quarter of an hour on two cores, in under 8 GB.

    Attributes:
        train_records: records to train on.
        eval_records: held-out records of presidents seen in training, and as many of unseen ones.
        gallery_records: known-truth records, at most 25.
        profile_items: paragraphs in a prompt, chosen by BM25.
        max_length: most tokens of a record.
        max_tokens: most tokens of a micro-batch.
        accumulation: micro-batches an optimizer step.
        epochs: passes over the training records.
        lora_r: rank of the adapters, on all linear layers.
        learning_rate: of both arms.
        save_steps: steps between two checkpoints; what Ctrl-C and a crash can cost.
        threshold: PIR in nats above which a token is personal.
        generate: records a split to generate for.
        max_new_tokens: most tokens of a generation.
        seed: of both arms.
        writers: the two writers who get an adapter of their own; none leaves that out.
        writer_records: most training records of a writer.
        writer_eval_records: most held-out records of a writer.
        writer_items: paragraphs in a prompt; few, so that the style is the adapter's to learn.
        writer_steps: optimizer steps of an adapter, one micro-batch each.
        writer_learning_rate: higher than the arms', for a difference that shows in minutes.
    """

    train_records: int = 56
    eval_records: int = 20
    gallery_records: int = 25
    profile_items: int = 3
    max_length: int = 512
    max_tokens: int = 1280
    accumulation: int = 2
    epochs: int = 1
    lora_r: int = 8
    learning_rate: float = 3e-4
    save_steps: int = 3
    threshold: float = 0.5
    generate: int = 6
    max_new_tokens: int = 64
    seed: int = 0
    writers: tuple[str, ...] = ("James K. Polk", "Barack Obama")
    writer_records: int = 40
    writer_eval_records: int = 8
    writer_items: int = 1
    writer_steps: int = 8
    writer_learning_rate: float = 1e-3
