"""Both passes and two optimizer steps, by one process or by ranks under FSDP2: see test_fsdp.py.

It calls ``fully_shard`` itself: on CPUs accelerate makes FSDP a DDP without a word.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from perce.modeling.check import check_model
from perce.modeling.head import response_logp, weighted_loss
from perce.modeling.modes import evaluation_mode
from perce.modeling.unwrap import base_model
from perce.objectives import get_objective
from perce.pairs import PairBatch, PairLoader
from tiny import random_store, tiny_model

STEPS = 2
RANKS = 2
ACCUMULATION = 2
RECORDS = [(9, 3, 5), (1, 1, 1), (4, 2, 11), (12, 6, 2), (3, 3, 6), (7, 2, 4), (5, 1, 8), (2, 2, 3)]

CASES: dict[str, tuple[str, bool, bool]] = {
    "llama": ("llama", False, False),
    "llama-lora-checkpointed": ("llama", True, True),
    "tied": ("gpt2", False, False),
    "tied-lora": ("smollm2", True, False),
    "softcap": ("gemma3", False, False),
    "bias-lora": ("phi", True, False),
    "experts": ("qwen3_moe", False, False),
}
"""Model family, whether LoRA or all weights train, gradient checkpointing."""


def build(case: str) -> nn.Module:
    """The model before it is sharded; adapters far from zero, so that their gradients tell."""
    family, lora, checkpointed = CASES[case]
    model: nn.Module = tiny_model(family, spread=6.0)
    if lora:
        model = get_peft_model(model, LoraConfig(r=2, target_modules="all-linear"))
        torch.manual_seed(1)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_B" in name:
                    parameter.normal_(std=0.1)
    if checkpointed:
        base_model(model).enable_input_require_grads()
        model.gradient_checkpointing_enable({"use_reentrant": False})
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # ranks draw other masks than one process does
    return model.train()


def shard(model: nn.Module) -> None:
    """FSDP2 as accelerate applies it on GPUs: each block, then the rest, the head in it."""
    base = base_model(model)
    blocks = base.transformer.h if hasattr(base, "transformer") else base.model.layers
    for block in blocks:
        fully_shard(block, reshard_after_forward=True)
    fully_shard(model, reshard_after_forward=True)


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """A copy of all of a tensor, whose shards may lie on several ranks."""
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach().clone()


def steps(ranks: int, rank: int) -> list[list[PairBatch]]:
    """This rank's micro-batches of each step: unequal ones, two a rank and step, four for one."""
    loader = PairLoader(
        random_store(RECORDS),
        packing=False,
        per_device_train_batch_size=2,
        seed=3,
        rank=rank,
        world_size=ranks,
    )
    found = []
    for epoch in range(STEPS):
        loader.set_epoch(epoch)
        found.append(list(loader))
        assert len(found[-1]) == RANKS * ACCUMULATION // ranks
    return found


def run(case: str, *, ranks: int = 1, rank: int = 0) -> dict[str, Any]:
    """Two SGD steps with PerCE: gradients, log-probabilities by token, and weights."""
    model = build(case)
    if ranks > 1:
        shard(model)
    check = check_model(model)
    objective = get_objective("perce", clip_min=0.05)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    n = sum(response for _, _, response in RECORDS)
    router_weight = 0.1 if case == "experts" else 0.0
    optimizer = torch.optim.SGD(trained.values(), lr=0.05)
    gradients = []
    tokens: list[dict[int, tuple[float, float]]] = []
    for batches in steps(ranks, rank):
        tokens.append({})
        for batch in batches:
            with evaluation_mode(model):
                without = response_logp(model, batch.without_profile, batch.labels, check=check)
            result = weighted_loss(
                model,
                batch.with_profile,
                batch.labels,
                objective=objective,
                logp_without=without,
                num_items=n,
                router_weight=router_weight / (RANKS * ACCUMULATION),
                check=check,
            )
            # FSDP averages over ranks; the loss is to be summed.
            (result.loss * ranks).backward()
            both = zip(without.tolist(), result.logp.tolist(), strict=True)
            tokens[-1] |= dict(zip(batch.ledger_index.tolist(), both, strict=True))
        gradients.append({name: whole(p.grad) for name, p in trained.items() if p.grad is not None})
        optimizer.step()
        optimizer.zero_grad()
    return {
        "head": check.path,
        "sharded": [name for name, p in model.named_parameters() if isinstance(p, DTensor)],
        "parameters": [name for name, _ in model.named_parameters()],
        "gradients": gradients,
        "tokens": tokens,
        "weights": {name: whole(p) for name, p in model.named_parameters()},
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    for name in sys.argv[2:] or CASES:
        torch.save(
            run(name, ranks=dist.get_world_size(), rank=dist.get_rank()),
            Path(sys.argv[1]) / f"{name}-{dist.get_rank()}.pt",
        )
    dist.destroy_process_group()
