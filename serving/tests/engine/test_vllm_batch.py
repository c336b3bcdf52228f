"""What the engine says for each row of a mixed batch, against PEFT; and the fix that this needs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
vllm = pytest.importorskip("vllm", reason="make test-serving has it")

from peft import PeftModel  # noqa: E402
from vllm.lora.ops.torch_ops import lora_ops  # noqa: E402
from vllm.lora.request import LoRARequest  # noqa: E402

from engine.tiny_models import CONTEXT, RANK, load, write_adapter, write_model  # noqa: E402
from perce_serving.engine import cpu_index  # noqa: E402

# vLLM and what it imports deprecate things of each other's.
pytestmark = pytest.mark.filterwarnings("default")

ADAPTERS = 3
TOKENS = 12
PROMPTS = ["hello", "an adapter a user", "tea", "café au lait", "what do I like?", "x"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "Tiny")


@pytest.fixture(scope="module")
def adapters(base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("adapters")
    return [write_adapter(root / f"{seed}", base, seed=seed) for seed in range(1, ADAPTERS + 1)]


@pytest.fixture(scope="module")
def engine(base: Path) -> Iterator[Any]:
    """One engine in this process, mended as the plugin mends it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        # vLLM 0.32 looks into all modules for kernels, and stumbles over this one's library.
        patch.delitem(sys.modules, "llvmlite.binding.ffi", raising=False)
        cpu_index.apply()
        yield vllm.LLM(
            model=str(base),
            dtype="float32",
            enforce_eager=True,
            max_model_len=CONTEXT,
            enable_lora=True,
            max_loras=ADAPTERS,
            max_lora_rank=RANK,
            enable_prefix_caching=False,
        )


def greedy(engine: Any, prompts: list[str], requests: list[Any]) -> list[list[int]]:
    sampling = vllm.SamplingParams(temperature=0, max_tokens=TOKENS, ignore_eos=True)
    outputs = engine.generate(prompts, sampling, lora_request=requests, use_tqdm=False)
    return [list(output.outputs[0].token_ids) for output in outputs]


def expected(model: Any, engine: Any, prompt: str) -> list[int]:
    """What transformers generates, without sampling and without an end."""
    ids = torch.tensor([engine.get_tokenizer().encode(prompt)])
    for _ in range(TOKENS):
        with torch.no_grad():
            following = model(ids).logits[0, -1].argmax()
        ids = torch.cat([ids, following[None, None]], dim=1)
    return ids[0, -TOKENS:].tolist()


def test_rows_of_a_mixed_batch_equal_peft(engine: Any, base: Path, adapters: list[Path]) -> None:
    asked = [(prompt, number) for prompt in PROMPTS for number in range(ADAPTERS + 1)]
    requests = [
        LoRARequest(f"adapter-{number}", number, str(adapters[number - 1])) if number else None
        for _, number in asked
    ]
    said = greedy(engine, [prompt for prompt, _ in asked], requests)
    models = [load(base), *(PeftModel.from_pretrained(load(base), path) for path in adapters)]
    wanted = [expected(models[number].eval(), engine, prompt) for prompt, number in asked]
    assert said == wanted
    # The adapters say different things, or all this would prove nothing.
    assert len({tuple(said[number]) for number in range(ADAPTERS + 1)}) == ADAPTERS + 1


def test_a_row_of_the_base_model_says_the_same_whoever_is_beside_it(
    engine: Any, adapters: list[Path]
) -> None:
    alone = greedy(engine, [PROMPTS[0]], [None])
    beside = LoRARequest("adapter-1", 1, str(adapters[0]))
    assert greedy(engine, [PROMPTS[0], *PROMPTS], [None, *[beside] * len(PROMPTS)])[:1] == alone


@pytest.mark.parametrize("mended", [True, False])
def test_without_the_fix_such_a_row_gets_the_last_adapter(mended: bool) -> None:
    if not cpu_index.is_affected(vllm.__version__, cpu=True):
        pytest.skip(f"vLLM {vllm.__version__} needs no fix")
    shrink = lora_ops.bgmv_shrink
    if mended and not hasattr(shrink, "mended"):
        shrink = cpu_index._mended(shrink)
    elif not mended:
        shrink = getattr(shrink, "mended", shrink)
    weights = torch.arange(24.0).reshape(2, 1, 3, 4) + 1
    rows = torch.ones(3, 4)
    out = torch.full((3, 3), 7.0)
    shrink(rows, weights, out, torch.tensor([-1, 0, 1]), 2.0)
    assert torch.equal(out[1:], 2 * weights[:, 0].sum(dim=-1))
    assert torch.equal(out[0], torch.zeros(3)) is mended
    assert torch.equal(out[0], out[2]) is not mended
