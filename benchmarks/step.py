"""What PerCE adds to a training step: its time over a plain cross-entropy step, beside the floor.

    python benchmarks/step.py                                # profiles of 100 to 1500 tokens
    python benchmarks/step.py --quick                        # a tiny model, seconds
    python benchmarks/step.py --model DIR --profiles 300 900 --steps 12

The same random records, bins and model in every arm; only the profile's length differs between
rows. *refresh 1* makes the profile-free pass in every epoch, as the paper does; *refresh 4* is the
second epoch under ``refresh_every`` 4, where the ledger's log-probabilities stand in for it.
The *floor* is what the extra pass must cost by its matrix products alone: forward over the short
stream, against forward and backward (three forwards) over the long one, with the head on response
rows only. Without ``--model`` the model is a random Llama of SmolLM2-135M's shape with
``--layers`` layers.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import torch

from common import arguments, machine, random_model, random_records, ratio, table, tokenizer_of
from perce.tokens import PreparedData
from steps import train_perce

ARMS = {
    "CE": {"objective": "ce"},
    "PerCE": {"objective": "perce"},
    "refresh_every 4": {"objective": "perce", "refresh_every": 4},
}


def floor(model: Any, data: PreparedData) -> float:
    """Extra matrix products of the profile-free pass over those of a plain step."""
    config = model.config.get_text_config()
    layers = sum(p.numel() for n, p in model.named_parameters() if p.ndim == 2 and ".layers." in n)
    head = config.vocab_size * config.hidden_size
    width = config.num_hidden_layers * config.hidden_size
    long, short = (lengths.astype(float) for lengths in data.core.lengths())
    response = data.core.n_response_tokens

    def forward(lengths: Any) -> float:
        # Attention's two products see half of the square, as it is causal.
        return 2 * (layers * lengths.sum() + head * response + width * (lengths**2).sum())

    return float(forward(short) / (3 * forward(long)))


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--model", help="folder of a model; random weights without it")
    parser.add_argument("--layers", type=int, default=10)
    parser.add_argument("--profiles", type=int, nargs="+", default=[100, 300, 600, 1000, 1500])
    parser.add_argument("--batch", type=int, default=2, help="records in a step")
    parser.add_argument("--steps", type=int, default=8, help="steps of an epoch")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    if args.quick:
        args.profiles, args.steps, args.repeats = args.profiles[:2], 3, 1
    tokenizer = tokenizer_of(args.model)
    rows, over = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for profile in args.profiles:
            data = random_records(folder, tokenizer, args.batch * args.steps, profile=profile)
            times: dict[str, list[float]] = {arm: [] for arm in ARMS}
            for _ in range(args.repeats):
                for arm, options in ARMS.items():
                    model = random_model(args.model, args.layers, quick=args.quick)
                    steps = train_perce(
                        model,
                        data,
                        folder / "out",
                        packing=False,
                        per_device_train_batch_size=args.batch,
                        num_train_epochs=2,
                        **options,
                    )
                    # The second epoch, in which 4 lets the pass out; its first step warms up.
                    times[arm].append(median(steps.seconds[args.steps + 1 :]))
            plain, paper, stored = (median(times[arm]) for arm in ARMS)
            least = floor(model, data)
            over.append(100 * (paper / plain - 1 - least))
            long, short = (int(lengths.mean()) for lengths in data.core.lengths())
            rows.append(
                (
                    long - short,
                    short,
                    f"{plain:.3f} s",
                    f"{paper / plain - 1:+.1%}",
                    f"{stored / plain - 1:+.1%}",
                    f"{least:+.1%}",
                )
            )
    table(
        f"A step of {args.batch} records: median of {args.steps - 1} steps, of {args.repeats} runs",
        ("profile tokens", "short row", "CE step", "PerCE", "refresh_every 4", "floor of PerCE"),
        rows,
    )
    print()
    ratio("points over the floor, worst row", max(over), "<= 3")
    print(f"\n{machine('transformers')}, {torch.get_num_threads()} threads")


if __name__ == "__main__":
    main()
