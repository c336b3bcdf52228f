"""Keys: a file of hashes that several processes edit and read."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import re
import stat
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from asgi import Shelf, Tenancy, with_keys
from perce_serving.errors import KeyFileError, UserError
from perce_serving.tenant import keys as module
from perce_serving.tenant.identity import Caller
from perce_serving.tenant.keys import FORMAT, KeyFile, NewKey
from strategies import users


def caller(keys: KeyFile, authorization: str | None) -> Caller | None:
    """Whom the server lets in."""
    return asyncio.run(keys.authenticate(authorization))


class Keys(RuleBasedStateMachine):
    """Operators edit by one object, a server reads by another, as two processes would."""

    made = Bundle("made")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.edited = with_keys(Path(self.folder.name))
        self.read = with_keys(Path(self.folder.name))
        self.valid: dict[str, tuple[NewKey, Caller]] = {}
        self.revoked: list[NewKey] = []

    @rule(target=made, whom=users().map(Caller) | st.just(Caller(operator=True)))
    def create(self, whom: Caller) -> NewKey:
        key = self.edited.create(whom)
        self.valid[key.id] = (key, whom)
        return key

    @rule(key=consumes(made))
    def revoke(self, key: NewKey) -> None:
        if key.id in self.valid:
            assert self.edited.revoke(key.id).caller == self.valid.pop(key.id)[1]
            self.revoked.append(key)
        with pytest.raises(KeyFileError, match="no key has the id"):
            self.edited.revoke(key.id)

    @rule(data=st.data())
    def revoke_user(self, data: st.DataObject) -> None:
        known = [whom.user for _, whom in self.valid.values() if whom.user is not None]
        user = data.draw(st.sampled_from(known) | users() if known else users())
        gone = {entry.id for entry in self.edited.revoke_user(user)}
        assert gone == {key.id for key, whom in self.valid.values() if whom.user == user}
        for key_id in gone:
            self.revoked.append(self.valid.pop(key_id)[0])

    @invariant()
    def the_server_knows_the_valid_keys_and_no_others(self) -> None:
        for key, whom in self.valid.values():
            assert caller(self.read, f"Bearer {key.text}") == whom
        if self.read.path.exists():
            for key in self.revoked:
                assert caller(self.read, f"Bearer {key.text}") is None

    @invariant()
    def the_list_is_complete_and_the_file_holds_no_secret(self) -> None:
        listed = {entry.id: entry.caller for entry in self.edited.entries()}
        assert listed == {key_id: whom for key_id, (_, whom) in self.valid.items()}
        if self.read.path.exists():
            text = self.read.path.read_text()
            assert not any(key.text[23:] in text for key, _ in self.valid.values())
            assert stat.S_IMODE(self.read.path.stat().st_mode) == 0o600

    def teardown(self) -> None:
        names = {path.name for path in Path(self.folder.name).iterdir()}
        assert names <= {"keys.json", "keys.json.lock"}  # no scratch files
        self.folder.cleanup()


TestKeys = Keys.TestCase
TestKeys.settings = settings(stateful_step_count=10)  # each step brings the file onto the disk


def test_only_the_whole_key_by_the_right_scheme_lets_in(tmp_path: Path) -> None:
    keys = with_keys(tmp_path)
    key = keys.create(Caller("ann"))
    other = keys.create(Caller("bob"))
    text = key.text
    for authorization in (f"Bearer {text}", f"bearer {text}", f"BEARER  {text} "):
        assert caller(keys, authorization) == Caller("ann")
    crossed = f"perce-{key.id}-{other.text[23:]}"
    changed = text[:-1] + ("A" if text[-1] != "A" else "B")
    for authorization in (
        None, "", text, f"Basic {text}", f"Bearer{text}", f"Bearer {text[:-1]}", f"Bearer {text}A",
        f"Bearer {text},", f"Bearer {text} {text}", f"Bearer {crossed}", f"Bearer {changed}",
        f"Bearer {text.upper()}", "Bearer ", "Bearer perce--", f"Bearer {text}\n",
        f"Bearer perce-{'0' * 16}-{'A' * 43}", f"Bearer \t{text}", "Bearer " + "9" * 100_000,
    ):  # fmt: skip
        assert caller(keys, authorization) is None, authorization


def test_a_key_revoked_while_the_server_runs_gets_nobody_in(tmp_path: Path) -> None:
    keys = with_keys(tmp_path)
    key = keys.create(Caller("ann"))
    tenancy = Tenancy(Shelf(), identity=with_keys(tmp_path))
    assert tenancy.ask(key=f"Bearer {key.text}").status == 200
    keys.revoke(key.id)
    answer = tenancy.ask(key=f"Bearer {key.text}")
    assert (answer.status, answer.error["code"]) == (401, "key")
    assert answer.headers[b"www-authenticate"] == b"Bearer"
    assert len(tenancy.server.seen) == 1


class SlowFile:
    """Holds back whoever reads the file, in place of ``keys._read``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.threads: list[int] = []
        self.go = threading.Event()
        self._real = module._read
        monkeypatch.setattr(module, "_read", self)

    def __call__(self, path: Path) -> dict[str, module.KeyEntry]:
        entries = self._real(path)
        self.threads.append(threading.get_ident())
        assert self.go.wait(60)
        return entries


def test_the_file_is_read_once_for_all_and_beside_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = with_keys(tmp_path)
    text = f"Bearer {keys.create(Caller('ann')).text}"
    slow = SlowFile(monkeypatch)

    async def main() -> None:
        asked = [asyncio.create_task(keys.authenticate(text)) for _ in range(3)]
        while not slow.threads:
            await asyncio.sleep(0)  # the loop has its turn while the file is read
        slow.go.set()
        assert await asyncio.gather(*asked) == [Caller("ann")] * 3
        assert await keys.authenticate(text) == Caller("ann")

    asyncio.run(main())
    assert len(slow.threads) == 1
    assert threading.get_ident() not in slow.threads


def test_whoever_asks_while_the_file_is_read_does_not_get_in_by_the_former_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys, server = with_keys(tmp_path), with_keys(tmp_path)
    key = keys.create(Caller("ann"))
    text = f"Bearer {key.text}"
    assert caller(server, text) == Caller("ann")
    keys.create(Caller("bob"))

    async def main() -> None:
        slow = SlowFile(monkeypatch)
        before = asyncio.create_task(server.authenticate(text))
        while not slow.threads:
            await asyncio.sleep(0)
        # It has been read, but is not known yet: the key is revoked, and asked for once more.
        monkeypatch.undo()
        keys.revoke(key.id)
        after = asyncio.create_task(server.authenticate(text))
        await asyncio.sleep(0)
        slow.go.set()
        assert await before == Caller("ann")
        assert await after is None

    asyncio.run(main())


def test_a_file_of_the_same_size_is_read_anew(tmp_path: Path) -> None:
    keys, server = with_keys(tmp_path), with_keys(tmp_path)
    old = keys.create(Caller("ann"))
    size = keys.path.stat().st_size
    assert caller(server, f"Bearer {old.text}") == Caller("ann")
    keys.revoke(old.id)
    new = keys.create(Caller("bob"))
    assert keys.path.stat().st_size == size
    assert caller(server, f"Bearer {old.text}") is None
    assert caller(server, f"Bearer {new.text}") == Caller("bob")


def test_a_file_replaced_is_later_than_the_one_before_whatever_the_clock(tmp_path: Path) -> None:
    keys, server = with_keys(tmp_path), with_keys(tmp_path)
    key = keys.create(Caller("ann"))
    far = 4_000_000_000 * 10**9
    os.utime(keys.path, ns=(far, far))
    assert caller(server, f"Bearer {key.text}") == Caller("ann")
    keys.revoke(key.id)
    keys.create(Caller("bob"))
    assert keys.path.stat().st_mtime_ns == far + 2
    assert caller(server, f"Bearer {key.text}") is None


def test_a_key_is_revoked_by_a_link_as_well(tmp_path: Path) -> None:
    server = with_keys(tmp_path)
    key = server.create(Caller("ann"))
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "keys.json"
    link.symlink_to(server.path)
    KeyFile(link).revoke(key.id)
    assert caller(server, f"Bearer {key.text}") is None
    assert link.is_symlink()
    assert [path.name for path in link.parent.iterdir()] == ["keys.json"]  # one lock for all


def test_a_change_is_on_the_disk_when_it_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed = []
    fsync = os.fsync

    def record(handle: int) -> None:
        flushed.append(os.fstat(handle).st_ino)
        fsync(handle)

    monkeypatch.setattr(os, "fsync", record)
    keys = with_keys(tmp_path)
    keys.create(Caller("ann"))
    assert flushed == [keys.path.stat().st_ino, tmp_path.stat().st_ino]


@pytest.mark.parametrize("damage", [None, "", "{", "[]", '{"format": "other/1", "keys": []}'])
def test_a_file_that_cannot_be_read_lets_nobody_in_and_shows_no_path(
    tmp_path: Path, damage: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    keys = with_keys(tmp_path)
    key = keys.create(Caller("ann"))
    tenancy = Tenancy(Shelf(), identity=keys)
    assert tenancy.ask(key=f"Bearer {key.text}").status == 200
    whole = keys.path.read_text()
    if damage is None:
        keys.path.unlink()
    else:
        keys.path.write_text(damage)
    for _ in range(2):  # the second time, too
        answer = tenancy.ask(key=f"Bearer {key.text}")
        assert (answer.status, answer.error["code"]) == (503, "identity")
        assert str(tmp_path).encode() not in answer.body
    assert str(keys.path) in caplog.text
    keys.path.write_text(whole)
    assert tenancy.ask(key=f"Bearer {key.text}").status == 200


def test_several_keys_headers_are_refused(tmp_path: Path) -> None:
    tenancy = Tenancy(Shelf())
    answer = tenancy.ask(key="ann", headers=[(b"Authorization", b"bob")])
    assert (answer.status, answer.error["code"]) == (400, "header")
    assert tenancy.server.seen == []


def test_an_entry_has_its_date_and_shows_no_hash(tmp_path: Path) -> None:
    keys = with_keys(tmp_path)
    key = keys.create(Caller("ann"))
    (entry,) = keys.entries()
    assert entry.created == 1_700_000_000
    assert entry.digest not in repr(entry)
    assert key.text not in repr(key)


def test_whoever_could_read_the_file_still_can_after_a_change(tmp_path: Path) -> None:
    keys = with_keys(tmp_path)
    keys.create(Caller("ann"))
    keys.path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(keys.path, 4321, 8765)
    before = keys.path.stat()
    keys.create(Caller("bob"))
    after = keys.path.stat()
    assert after.st_ino != before.st_ino
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )


def test_nothing_is_made_where_there_is_nothing_to_revoke(tmp_path: Path) -> None:
    keys = with_keys(tmp_path)
    assert keys.entries() == ()
    assert keys.revoke_user("ann") == ()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(KeyFileError, match="cannot be read"):
        caller(keys, "Bearer perce-" + "0" * 16 + "-" + "A" * 43)


VALID = {"id": "0" * 16, "user": "ann", "operator": False, "sha256": "0" * 64, "created": 1}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "not JSON"),
        ("\xff", "not JSON"),
        ('{"format": "a", "format": "b"}', "not JSON: a field is there twice"),
        ("[]", "not a keys file"),
        ({"keys": []}, "not a keys file"),
        ({"format": FORMAT}, "keys: a list"),
        ({"format": FORMAT, "keys": [1]}, r"keys\[0\]: the fields"),
        ({"format": FORMAT, "keys": [{**VALID, "more": 1}]}, r"keys\[0\]: the fields"),
        ({"format": FORMAT, "keys": [VALID, VALID]}, r"keys\[1\].id: 0+ appears twice"),
        ({"format": FORMAT, "keys": [{**VALID, "id": "A" * 16}]}, r"keys\[0\].id"),
        ({"format": FORMAT, "keys": [{**VALID, "id": None}]}, r"keys\[0\].id"),
        ({"format": FORMAT, "keys": [{**VALID, "sha256": "0" * 63}]}, r"keys\[0\].sha256"),
        ({"format": FORMAT, "keys": [{**VALID, "operator": 1}]}, r"keys\[0\].operator"),
        ({"format": FORMAT, "keys": [{**VALID, "operator": True}]}, r"keys\[0\]: .*either"),
        ({"format": FORMAT, "keys": [{**VALID, "user": 1}]}, r"keys\[0\].user"),
        ({"format": FORMAT, "keys": [{**VALID, "user": ""}]}, r"keys\[0\]: user"),
        ({"format": FORMAT, "keys": [{**VALID, "created": "now"}]}, r"keys\[0\].created"),
    ],
)
def test_a_damaged_file_is_told_in_one_line(tmp_path: Path, content, says: str) -> None:
    keys = with_keys(tmp_path)
    if isinstance(content, str):
        keys.path.write_bytes(content.encode("latin-1"))
    else:
        keys.path.write_text(json.dumps(content))
    for attempt in (keys.entries, lambda: keys.create(Caller("bob"))):
        with pytest.raises(KeyFileError, match=says) as caught:
            attempt()
        assert str(caught.value).startswith(f"{keys.path}: ")
        assert "\n" not in str(caught.value)


def test_a_folder_that_cannot_hold_the_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    keys = KeyFile(tmp_path / "file" / "keys.json")
    with pytest.raises(KeyFileError, match=re.escape(str(keys.path))):
        keys.create(Caller("ann"))


def make_keys(path: Path, user: str, count: int) -> None:
    for _ in range(count):
        KeyFile(path).create(Caller(user))


def test_two_processes_lose_none_of_each_others_keys(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    fresh = multiprocessing.get_context("fork")
    writers = [fresh.Process(target=make_keys, args=(path, user, 20)) for user in ("ann", "bob")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    made = [entry.caller.user for entry in KeyFile(path).entries()]
    assert sorted(made) == ["ann"] * 20 + ["bob"] * 20


def test_a_caller_is_a_user_or_an_operator() -> None:
    for wrong in ({}, {"user": "ann", "operator": True}):
        with pytest.raises(ValueError, match="either"):
            Caller(**wrong)
    with pytest.raises(UserError):
        Caller("a\nb")
