"""What the server knows of its users cannot be read: nobody gets in, and nobody is told why."""

from __future__ import annotations

import pytest

from asgi import Shelf, Tenancy
from perce_serving.tenant.identity import Caller
from perce_serving.users import adapter_name

ONE = "1" * 64


class Unreadable(Shelf):
    """A store whose disk does not answer."""

    def current(self, user: str) -> str | None:
        raise OSError(5, "Input/output error", "/secret")

    def has(self, user: str, version: str) -> bool:
        raise PermissionError(13, "Permission denied", "/secret")

    def served(self, user: str) -> list[str]:
        raise OSError(116, "Stale file handle", "/secret")


class Down:
    """A platform that cannot tell who is calling."""

    async def authenticate(self, authorization: str | None) -> Caller | None:
        raise TimeoutError("the platform at /secret is down")


@pytest.mark.parametrize(
    ("tenancy", "code"),
    [(lambda: Tenancy(Unreadable()), "store"), (lambda: Tenancy(Shelf(), Down()), "identity")],
)
@pytest.mark.parametrize("model", ["me", adapter_name("ann", ONE)])
def test_what_cannot_be_read_lets_nobody_in(tenancy, code: str, model: str, caplog) -> None:
    tenancy = tenancy()
    answers = [tenancy.ask(body={"model": model}), tenancy.ask("/v1/models", method="GET")]
    for answer in answers:
        assert (answer.status, answer.error["code"]) == (503, code)
        assert b"secret" not in answer.body
    assert tenancy.refusals() == {code: 2.0}
    assert "/secret" in caplog.text
    assert tenancy.server.seen == []
