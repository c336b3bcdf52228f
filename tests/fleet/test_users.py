"""Who is trained on what, and judged by what, against a plain Python oracle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perce.data import Message, ProfileItem, Record
from perce.errors import OptionError
from perce.fleet.users import UserSplits, choose_users
from perce.tokens import PreparedData
from tiny import tiny_data

LONG = "a sentence that is long enough to tell where it comes from, number "


@given(st.floats(0.01, 0.99))
def test_the_last_records_are_held_out(data: PreparedData, share: float) -> None:
    splits = UserSplits(data, eval_share=share)
    assert splits.users == list(dict.fromkeys(data.user_ids))
    for user in splits.users:
        mine = [i for i, owner in enumerate(data.user_ids) if owner == user]
        split = splits.split(user)
        held_out = split.held_out.record_ids
        assert len(held_out) == max(1, int(share * len(mine)))
        assert held_out == [data.record_ids[i] for i in mine[-len(held_out) :]]
        assert split.train.tolist() == mine[: -len(held_out)]
        assert split.left_out == 0, "short responses stand anywhere by chance"


def test_eval_data_has_the_held_out_records(data: PreparedData, val: PreparedData) -> None:
    some = val.select([i for i, user in enumerate(val.user_ids) if user != "u1"])
    splits = UserSplits(data, some)
    for user in splits.users:
        split = splits.split(user)
        assert split.train.tolist() == [i for i, u in enumerate(data.user_ids) if u == user]
        wanted = [
            record
            for record, owner in zip(some.record_ids, some.user_ids, strict=True)
            if owner == user
        ]
        assert (split.held_out.record_ids if split.held_out else []) == wanted
    with pytest.raises(OptionError, match="is the training data itself"):
        UserSplits(data, data)
    for share in (0.0, 1.0, float("nan")):
        with pytest.raises(OptionError, match="eval_share"):
            UserSplits(data, eval_share=share)


def leaky(shown: list[list[int]], responses: list[int]) -> list[Record]:
    """Records of one user; record i's profile holds the texts ``shown[i]``."""
    return [
        Record(
            id=f"r{i}",
            user_id="u",
            profile=tuple(ProfileItem(f"Before. {LONG}{n}. After.") for n in items),
            messages=(Message("user", "q"),),
            response=f"{LONG.upper()}  {response}.",
        )
        for i, (items, response) in enumerate(zip(shown, responses, strict=True))
    ]


@settings(max_examples=15)
@given(st.data())
def test_records_that_show_a_held_out_response_are_left_out(
    tmp_path_factory: pytest.TempPathFactory, draw: st.DataObject
) -> None:
    n = draw.draw(st.integers(2, 6))
    texts = st.integers(0, 8)
    shown = draw.draw(st.lists(st.lists(texts, max_size=2), min_size=n, max_size=n))
    responses = draw.draw(st.lists(texts, min_size=n, max_size=n))
    data = tiny_data(tmp_path_factory.mktemp("leaky"), leaky(shown, responses))
    split = UserSplits(data, eval_share=0.4).split("u")
    count = max(1, int(0.4 * n))
    held_out = set(responses[-count:])
    clean = [i for i in range(n - count) if not held_out & {*shown[i], responses[i]}]
    assert split.train.tolist() == clean
    assert split.left_out == n - count - len(clean)


def test_an_item_that_the_prompt_does_not_show_is_no_leak(tmp_path: Path) -> None:
    leak = ProfileItem(f"{LONG}1.")
    filler = [ProfileItem(f"{i} {'x' * 130}") for i in range(3)]
    for shown, items in ((True, [leak, *filler]), (False, [*filler, leak])):
        first, last = leaky([[], []], [0, 1])
        data = tiny_data(tmp_path / str(shown), [replace(first, profile=tuple(items)), last])
        assert (leak in data.record(0).dropped) != shown
        assert UserSplits(data).split("u").left_out == int(shown)


def test_all_users_or_those_of_a_file(tmp_path: Path) -> None:
    known = ["ana", "bo", "ünal", "a b"]
    assert choose_users("all", known) == known
    file = tmp_path / "users.txt"
    file.write_text("ünal\n\n  a b \nana\n", encoding="utf-8")
    assert choose_users(str(file), known) == ["ünal", "a b", "ana"]


@given(
    known=st.lists(
        st.text(st.characters(exclude_characters="\r\n", exclude_categories=("Cs",)), min_size=1)
        .filter(str.strip)
        .filter(lambda user: not user.startswith("\ufeff")),
        min_size=1,
        unique=True,
    ),
    ending=st.sampled_from(["\n", "\r\n"]),
    marked=st.booleans(),
)
def test_any_user_of_one_line_can_be_listed(
    tmp_path_factory: pytest.TempPathFactory, known: list[str], ending: str, marked: bool
) -> None:
    file = tmp_path_factory.mktemp("users") / "users.txt"
    text = "".join(user + ending for user in known)
    file.write_bytes(text.encode("utf-8-sig" if marked else "utf-8"))
    assert choose_users(str(file), known) == known


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"ana\nana\n", r"users\.txt:2: 'ana' stands on line 1"),
        (b"ana\nzoe\n", r"users\.txt:2: the data have no user 'zoe'"),
        (b"\n", "names no user"),
        (b"\xff\xfe", "is not UTF-8"),
        (None, "cannot read"),
    ],
)
def test_what_is_wrong_with_the_file(tmp_path: Path, content: bytes | None, told: str) -> None:
    file = tmp_path / "users.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(OptionError, match=f"users: .*{told}") as error:
        choose_users(str(file), ["ana"])
    assert "\n" not in str(error.value)
