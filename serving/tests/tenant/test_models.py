"""Which model a caller gets."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi import BASE, Shelf, Tenancy
from perce_serving.errors import RequestError, StoreError, UserError
from perce_serving.tenant.models import Model, Models, check_secret
from perce_serving.users import adapter_name
from strategies import users, versions

ONE, TWO = "1" * 64, "2" * 64


@given(
    owners=st.dictionaries(users(), st.lists(versions(), max_size=3), max_size=4),
    user=users(),
    data=st.data(),
)
def test_one_gets_ones_own_versions_and_no_others(owners, user, data) -> None:
    shelf = Shelf()
    shelf.versions = owners
    asked = data.draw(
        st.text(max_size=20)
        | st.builds(adapter_name, users() | st.sampled_from([user, *owners]), versions())
        | st.sampled_from(
            [adapter_name(name, version) for name in owners for version in owners[name]] or ["me"]
        )
    )
    models = Models(shelf, base=BASE)
    own = {adapter_name(user, version) for version in owners.get(user, [])}
    if asked in own:
        assert models.resolve(user, asked) == Model(asked, is_adapter=True)
    elif asked != "me":
        with pytest.raises(RequestError) as caught:
            models.resolve(user, asked)
        assert (caught.value.status, caught.value.code) == (404, "model")
    assert [model["id"] for model in models.listed(user)["data"]][:1] == ["me"]
    assert {model["id"] for model in models.listed(user)["data"]} == {"me", *own}
    assert set(shelf.asked) <= {user}


def test_the_list_holds_all_that_one_can_ask_for_me_first_and_the_current_one_next() -> None:
    tenancy = Tenancy(Shelf(ann=[ONE, TWO], bob=["3" * 64]))
    answer = tenancy.ask("/v1/models", method="GET")
    names = [model["id"] for model in json.loads(answer.body)["data"]]
    assert names == ["me", adapter_name("ann", TWO), adapter_name("ann", ONE)]


@pytest.mark.parametrize(
    ("versions", "shared", "expected"),
    [
        ({"ann": [ONE, TWO]}, None, Model(adapter_name("ann", TWO), is_adapter=True)),
        ({"ann": [ONE], "all": [TWO]}, "all", Model(adapter_name("ann", ONE), is_adapter=True)),
        ({"all": [TWO]}, "all", Model(adapter_name("all", TWO), is_adapter=True)),
        ({"bob": [TWO]}, "all", Model(BASE, is_adapter=False)),
        ({"bob": [TWO]}, None, Model(BASE, is_adapter=False)),
    ],
)
def test_me_is_ones_own_or_the_shared_adapter_or_the_base(versions, shared, expected) -> None:
    assert Models(Shelf(**versions), base=BASE, shared=shared).resolve("ann", "me") == expected


def test_the_shared_adapter_and_the_base_cannot_be_asked_for_by_name() -> None:
    models = Models(Shelf(all=[TWO]), base=BASE, shared="all")
    for asked in (BASE, adapter_name("all", TWO)):
        with pytest.raises(RequestError, match="there is no model"):
            models.resolve("ann", asked)


@pytest.mark.parametrize("asked", [None, 1, ["me"], {"me": 1}, True])
def test_a_model_that_is_not_a_text_is_refused(asked) -> None:
    with pytest.raises(RequestError, match="a text is expected") as caught:
        Models(Shelf(), base=BASE).resolve("ann", asked)
    assert (caught.value.status, caught.value.param) == (400, "model")


def test_the_next_request_after_a_new_version_gets_it() -> None:
    tenancy = Tenancy(Shelf(ann=[ONE]))
    tenancy.ask()
    tenancy.shelf.versions["ann"].append(TWO)
    tenancy.ask()
    models = [body["model"] for _, body in tenancy.server.seen]
    assert models == [adapter_name("ann", ONE), adapter_name("ann", TWO)]


def test_a_user_without_an_adapter_sees_me_alone() -> None:
    answer = Tenancy(Shelf(bob=[ONE])).ask("/v1/models", method="GET")
    assert [model["id"] for model in json.loads(answer.body)["data"]] == ["me"]


def test_a_store_that_cannot_be_read_is_told_to_the_operator_alone(caplog) -> None:
    class Broken(Shelf):
        def current(self, user: str) -> str | None:
            raise StoreError("/srv/adapters/1a2b/CURRENT: damaged")

    tenancy = Tenancy(Broken())
    for request in ({}, {"path": "/v1/models", "method": "GET"}):
        caplog.clear()
        answer = tenancy.ask(**request)
        assert (answer.status, answer.error["code"]) == (503, "store")
        assert b"/srv" not in answer.body
        assert "/srv/adapters/1a2b/CURRENT: damaged" in caplog.text
    assert tenancy.server.seen == []


def test_a_short_secret_and_a_wrong_shared_user_are_refused_at_the_start() -> None:
    with pytest.raises(ValueError, match="32 are needed"):
        check_secret(b"short")
    with pytest.raises(UserError):
        Models(Shelf(), base=BASE, shared="")
