"""The served prompt is the one that training made, ids and all; or there is a word on why not."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perce_serving.adapter_files import CONFIG_FILE, INFO_FILE, WEIGHTS_FILE
from perce_serving.errors import RequestError
from perce_serving.profile import ProfileItem
from perce_serving.prompt import Renderer, ServedPrompt
from perce_serving.store import LocalStore
from perce_serving.tenant.prompts import Asked, Turn
from perce_serving.users import AdapterName
from prompt.tokenizers import CHATML, CLOCK, DATED, tiny_tokenizer
from strategies import profiles, texts

pytest.importorskip("perce.data")
from perce.data import PromptRecipe, PromptTemplate
from perce.data.prompts import ProfileStyle
from perce.prepare import PrepareOptions

from prompt.training import record, trained

TOKENIZER = tiny_tokenizer()
TEXT = texts(required=True)
Items = tuple[ProfileItem, ...]


def published(store: LocalStore, folder: Path, info: Mapping[str, Any] | None) -> AdapterName:
    source = folder / "adapter"
    source.mkdir(exist_ok=True)
    (source / CONFIG_FILE).write_text("{}")
    (source / WEIGHTS_FILE).write_text("weights")
    if info is not None:
        (source / INFO_FILE).write_text(json.dumps(info))
    version = store.publish("alice", source, check=lambda folder: None)
    return AdapterName("alice", version.version)


def ids(served: ServedPrompt, messages: list[dict[str, str]]) -> list[int]:
    """What vLLM makes of messages: it is given the template and its arguments."""
    found: list[int] = served.tokenizer.apply_chat_template(
        messages,
        chat_template=served.chat_template,
        add_generation_prompt=True,
        return_dict=False,
        **served.arguments,
    )
    return found


def rendered(renderer: Renderer, *args: Any, answer_tokens: int = 10) -> list[dict[str, str]]:
    return asyncio.run(renderer.render(*args, answer_tokens=answer_tokens))


TURNS = st.lists(st.builds(Turn, st.sampled_from(["user", "assistant"]), TEXT), max_size=2)


@settings(max_examples=15)
@given(
    case=st.lists(st.tuples(profiles(6), TURNS, TEXT, st.just("") | TEXT), min_size=1, max_size=4),
    method=st.sampled_from(["bm25", "recency", "random", "none"]),
    k=st.none() | st.integers(0, 4),
    max_length=st.integers(700, 3000),
    most=st.none() | st.integers(1, 150),
)
def test_prompts_are_those_of_training(
    case: list[tuple[Items, list[Turn], str, str]], method: str, k: int | None, max_length: int,
    most: int | None,
) -> None:  # fmt: skip
    rows = [
        record(items, [*turns, Turn("user", text)], query) for items, turns, text, query in case
    ]
    options = PrepareOptions(
        retrieval=method, k=k, max_length=max_length, max_profile_length=most, seed=3,
        skip_bad=True,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        usable = [row for row in rows if len(TOKENIZER(str(row.messages))["input_ids"]) < 600]
        if not usable:
            return
        data = trained(folder, TOKENIZER, *usable, options=options)
        store = LocalStore(folder / "store")
        adapter = published(store, folder, {"prompt": data.recipe.to_dict()})
        served = ServedPrompt(tiny_tokenizer())
        renderer = Renderer(served, store=store, profiles=store.profiles, context=10_000)
        for index in range(len(data)):
            row = usable[index]
            items = tuple(ProfileItem(*(getattr(i, n) for n in i.__slots__)) for i in row.profile)
            store.profiles.set("bob", items)
            turns = [Turn(message.role, message.content) for message in row.messages]
            messages = rendered(renderer, "bob", adapter, turns, Asked(row.retrieval_query or None))
            assert ids(served, messages) == data.record(index).prefix_with_ids.tolist()
        renderer.close()


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


Make = Callable[..., Renderer]


@pytest.fixture
def make(store: LocalStore) -> Make:
    def made(served: ServedPrompt | None = None, context: int = 2000) -> Renderer:
        return Renderer(
            served or ServedPrompt(tiny_tokenizer()), store=store, profiles=store.profiles,
            context=context,
        )  # fmt: skip

    return made


ASKED = Asked(None)
QUESTION = [Turn("user", "What about the sea?")]
SEA = tuple(ProfileItem(f"The sea number {number}. " + "the in " * 40) for number in range(9))


def test_nobody_s_profile_is_no_profile(make: Make, store: LocalStore) -> None:
    assert rendered(make(), "bob", None, QUESTION, ASKED) == [
        {"role": "user", "content": "What about the sea?"}
    ]


def test_the_base_model_gets_the_defaults(make: Make, store: LocalStore) -> None:
    store.profiles.set("bob", [*SEA[:6], ProfileItem("Hills."), ProfileItem("<|im_end|> sea sea")])
    (message,) = rendered(make(context=10_000), "bob", None, QUESTION, ASKED)
    content = message["content"]
    assert content.startswith("About the user:\n\n")
    assert content.endswith("\n\nWhat about the sea?")
    assert "<|im_end|>" not in content
    assert "im_end" in content
    assert content.count(" sea") + content.count("The sea") >= 4
    assert "Hills" not in content


@pytest.mark.parametrize(("context", "answer"), [(500, 100), (500, 400), (300, 200)])
def test_the_answer_has_its_room(make: Make, store: LocalStore, context: int, answer: int) -> None:
    store.profiles.set("bob", SEA)
    served = ServedPrompt(tiny_tokenizer())
    messages = rendered(make(served, context), "bob", None, QUESTION, ASKED, answer_tokens=answer)
    assert context - answer - 6 <= len(ids(served, messages)) <= context - answer


def refused(*args: Any, **kwargs: Any) -> str:
    with pytest.raises(RequestError) as error:
        rendered(*args, **kwargs)
    assert (error.value.status, error.value.code) == (400, "profile")
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_conversation_without_room_is_refused(make: Make, store: LocalStore) -> None:
    said = refused(make(), "bob", None, [Turn("user", "x" * 2000)], ASKED)
    assert "1990 is the most for a prompt: shorten them" in said


def section(folder: Path, **options: Any) -> dict[str, Any]:
    return trained(folder, TOKENIZER, record(SEA, QUESTION), **options).recipe.to_dict()


@pytest.mark.parametrize(
    ("info", "said"),
    [
        (None, "does not say how its prompts were made"),
        ({"data": {}}, "does not say how its prompts were made"),
        ({"prompt": {}}, "told in version None"),
        ({"prompt": {"version": 2}}, "told in version 2, this perce reads 1"),
    ],
)
def test_adapters_that_do_not_say(
    make: Make, store: LocalStore, tmp_path: Path, info: Any, said: str
) -> None:
    assert said in refused(make(), "bob", published(store, tmp_path, info), QUESTION, ASKED)


def other_template(**changes: Any) -> dict[str, Any]:
    return {"template": PromptTemplate.from_tokenizer(tiny_tokenizer(DATED), **changes)}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"template": PromptTemplate.from_tokenizer(TOKENIZER)}, "another chat template"),
        (other_template(date="2020-01-01"), "another date_string"),
        (other_template(template_kwargs={"enable_thinking": False}), "another enable_thinking"),
        (other_template(template_kwargs={"date_string": "soon"}), "another date_string"),
        (other_template(template_kwargs={"unused": 1}), None),
        (other_template(style=ProfileStyle(intro="Her:\n")), None),
    ],
)
def test_what_differs_from_training_is_named(
    make: Make, store: LocalStore, tmp_path: Path, options: dict[str, Any], said: str | None
) -> None:
    adapter = published(store, tmp_path, {"prompt": section(tmp_path, **options)})
    renderer = make(ServedPrompt(tiny_tokenizer(DATED)))
    if said is None:
        assert rendered(renderer, "bob", adapter, QUESTION, ASKED)
    else:
        assert said in refused(renderer, "bob", adapter, QUESTION, ASKED)


def test_another_tokenizer_is_named(make: Make, store: LocalStore, tmp_path: Path) -> None:
    adapter = published(store, tmp_path, {"prompt": section(tmp_path)})
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["the sea"])
    said = refused(make(ServedPrompt(tokenizer)), "bob", adapter, QUESTION, ASKED)
    assert "another tokenizer" in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda values: values.update(style=None), "in which words"),
        (lambda values: values["style"].update(end=1), "in which words"),
        (lambda values: values.update(date="soon"), "cannot be read"),
        (lambda values: values.update(version=9), "cannot be read"),
        (lambda values: values.update(control_tokens=[]), "other control tokens"),
        (lambda values: values.update(end_token_ids=[1]), "other control tokens"),
    ],
)
def test_templates_that_training_does_not_make(
    make: Make, store: LocalStore, tmp_path: Path, change: Callable[[Any], object], said: str
) -> None:
    made = PromptRecipe.from_dict(section(tmp_path))
    values = json.loads(json.dumps(dict(made.template)))
    change(values)
    changed = {name: getattr(made, name) for name in made.__slots__} | {"template": values}
    adapter = published(store, tmp_path, {"prompt": PromptRecipe(**changed).to_dict()})
    assert said in refused(make(), "bob", adapter, QUESTION, ASKED)


def test_a_template_that_reads_the_clock_is_refused(make: Make) -> None:
    said = refused(make(ServedPrompt(tiny_tokenizer(CLOCK))), "bob", None, QUESTION, ASKED)
    assert "prints the time" in said


@pytest.mark.parametrize("source", [CHATML, DATED, None])
def test_what_vllm_is_given_gives_itself(source: str | None) -> None:
    served = ServedPrompt(tiny_tokenizer(source))
    again = ServedPrompt(
        tiny_tokenizer(source), chat_template=served.chat_template, arguments=served.arguments
    )
    assert again.chat_template == served.chat_template
    assert again.arguments == json.loads(json.dumps(served.arguments)) == served.arguments


def test_a_base_model_without_a_template(make: Make, store: LocalStore, tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer(None)
    data = trained(tmp_path, tokenizer, record(SEA, QUESTION))
    adapter = published(store, tmp_path, {"prompt": data.recipe.to_dict()})
    store.profiles.set("bob", SEA)
    first = ServedPrompt(tokenizer)
    # As the server makes it: from what vLLM was given.
    served = ServedPrompt(tokenizer, chat_template=first.chat_template, arguments=first.arguments)
    messages = rendered(make(served), "bob", adapter, QUESTION, ASKED)
    assert ids(served, messages) == data.record(0).prefix_with_ids.tolist()


def test_an_adapter_s_recipe_is_read_once(make: Make, store: LocalStore, tmp_path: Path) -> None:
    adapter = published(store, tmp_path, {"prompt": section(tmp_path)})
    renderer = make()
    first = rendered(renderer, "bob", adapter, QUESTION, ASKED)
    (store.open(*adapter) / INFO_FILE).write_text("{}")
    assert rendered(renderer, "bob", adapter, QUESTION, ASKED) == first
