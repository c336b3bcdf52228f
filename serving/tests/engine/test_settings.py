"""Settings travel by the environment, and options make them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perce_serving.engine import options
from perce_serving.engine.settings import VARIABLE, Settings
from perce_serving.errors import StartError, UserError
from perce_serving.tenant.limits import Limits
from perce_serving.validate import ENGINE_RANKS

WORDS = ["--store", "adapters", "--keys", "keys.json"]
text = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)


def read(model: Path, *words: str) -> Settings:
    args, _ = options.parse(["--model", str(model), *WORDS, *words])
    return options.settings_of(args)


@given(
    name=text,
    shared=st.none() | text,
    max_loras=st.integers(1, 999),
    gate=st.dictionaries(st.sampled_from(["per_user", "waiting"]), st.integers(1, 99)),
    limits=st.dictionaries(st.sampled_from(["rate", "send_seconds"]), st.floats(0.1, 9)),
)
def test_what_is_put_into_the_environment_comes_out_of_it(name: str, **given: object) -> None:
    settings = Settings(
        store=Path("/s") / name, keys=Path("/k"), model=Path("/m"), model_name=name, **given
    )
    assert Settings.from_environment(settings.to_environment()) == settings


def test_without_the_command_there_are_no_settings() -> None:
    with pytest.raises(StartError, match="perce-serve"):
        Settings.from_environment({})
    assert VARIABLE.isupper()


def test_an_answer_has_half_of_a_short_context_unless_told_otherwise(tmp_path: Path) -> None:
    assert read(tmp_path).limits_for(100_000).tokens == Limits().tokens
    assert read(tmp_path).limits_for(512).tokens == 256
    assert read(tmp_path, "--limit", "tokens=300").limits_for(512).tokens == 300


def test_there_are_as_many_turns_as_slots(tmp_path: Path) -> None:
    settings = read(tmp_path, "--max-loras", "7", "--gate", "per_user=9", "--gate", "patience=2")
    config = settings.gate_config()
    assert (config.max_adapters, config.per_user, config.patience) == (7, 9, 2.0)


@given(rank=st.integers(1, ENGINE_RANKS[-1]))
def test_a_rank_becomes_the_next_that_the_engine_takes(rank: int) -> None:
    most = read(Path(), "--max_lora_rank", str(rank)).max_rank
    assert most in ENGINE_RANKS
    assert most >= rank
    assert not [other for other in ENGINE_RANKS if rank <= other < most]


def test_limits_are_read_by_their_types(tmp_path: Path) -> None:
    words = ["--limit", "schemas=true", "--limit", "tokens=5", "--limit", "rate=0.5"]
    given = read(tmp_path, *words).limits
    assert given == {"schemas": True, "tokens": 5, "rate": 0.5}
    assert set(given) < set(asdict(Limits()))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--limit", "tokens=many"], "'tokens=many': int is expected"),
        (["--limit", "schemas=1"], "'schemas=1': bool is expected"),
        (["--limit", "speed=1"], "'speed=1' is none of body_bytes="),
        (["--gate", "max_adapters=1"], "'max_adapters=1' is none of per_user="),
        (["--max-loras", "x"], "--max-loras"),
        (["--max"], "--max"),
    ],
)
def test_options_that_make_no_sense_are_refused_in_one_line(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        read(tmp_path, *words)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--limit", "rate=0"], "rate is 0.0"),
        (["--gate", "per_user=0"], "per_user is 0"),
        (["--max-loras", "0"], "--max-loras 0"),
        (["--max-lora-rank", "513"], "--max-lora-rank 513"),
        (["--max-lora-rank", "0"], "--max-lora-rank 0"),
        (["--collect-seconds", "0"], "collect_seconds is 0.0"),
    ],
)
def test_numbers_out_of_range_are_refused(words: list[str], said: str, tmp_path: Path) -> None:
    with pytest.raises(StartError, match=said):
        read(tmp_path, *words)


def test_a_model_that_is_no_folder_and_a_user_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="not a folder on this machine"):
        read(tmp_path / "Org" / "Model")
    with pytest.raises(UserError):
        read(tmp_path, "--shared", "")


def test_what_follows_two_dashes_is_vllms() -> None:
    args, rest = options.parse(["--model", "m", *WORDS, "--", "--seed", "1", "--", "x"])
    assert rest == ["--seed", "1", "--", "x"]
    assert args.model == Path("m")


def test_vllm_is_told_what_the_settings_say(tmp_path: Path) -> None:
    words = ["--model-name", "Org/Tiny", "--dtype", "float32", "--max-loras", "3"]
    args, _ = options.parse(["--model", str(tmp_path), *WORDS, *words])
    told = options.engine_options(args, options.settings_of(args))
    assert told["served_model_name"] == ["tiny"]
    assert "max_model_len" not in told
    line = options.spelled(told)
    assert line[line.index("--max-loras") + 1] == "3"
    assert line[line.index("--enable-lora") + 1].startswith("--")
