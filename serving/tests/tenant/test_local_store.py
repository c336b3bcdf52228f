"""The tenant layer over the real store: what publishing and withdrawing do to the next request."""

from __future__ import annotations

from pathlib import Path

from asgi import BASE, Tenancy
from perce_serving.adapter_files import CONFIG_FILE, WEIGHTS_FILE
from perce_serving.store import LocalStore
from perce_serving.users import adapter_name


def test_each_request_is_served_by_what_the_store_says_then(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")

    def publish(text: str) -> str:
        folder = tmp_path / text
        folder.mkdir()
        for name in (CONFIG_FILE, WEIGHTS_FILE):
            (folder / name).write_text(text)
        return store.publish("ann", folder, check=lambda folder: None).version

    tenancy = Tenancy(store)

    def served(model: str = "me") -> str | None:
        answer = tenancy.ask(body={"model": model})
        assert answer.status in (200, 404)
        return tenancy.server.seen.pop()[1]["model"] if answer.status == 200 else None

    assert served() == BASE
    one = publish("one")
    assert served() == adapter_name("ann", one)
    two = publish("two")
    assert served() == adapter_name("ann", two)
    assert served(adapter_name("ann", one)) == adapter_name("ann", one)
    store.rollback("ann")
    assert served() == adapter_name("ann", one)
    store.retire("ann", two)
    assert served(adapter_name("ann", two)) is None
    store.erase("ann")
    assert served(adapter_name("ann", one)) is None
    assert served() == BASE
