"""What the store keeps, refuses and reports."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from perce_serving.adapter_files import (
    ADAPTER_FILES,
    CONFIG_FILE,
    INFO_FILE,
    WEIGHTS_FILE,
    open_regular,
    read_content,
)
from perce_serving.errors import StoreError, UserError, ValidationError
from perce_serving.faults import Fault
from perce_serving.store import AdapterStore, LocalStore, layout
from perce_serving.store.layout import CURRENT, USER_FILE
from perce_serving.store.scratch import SCRATCH
from perce_serving.users import user_folder
from perce_serving.version_file import VERSION_FILE, recorded_base

Source = Callable[[str], Path]


def accept(folder: Path) -> None:
    """Every adapter may be served."""


def damage(store: LocalStore) -> list[str]:
    return [finding.text for finding in store.verify() if finding.damage]


def test_a_local_store_is_a_store(store: LocalStore) -> None:
    offered: AdapterStore = store
    assert offered.current("alice") is None


def test_what_lies_on_the_disk(store: LocalStore, root: Path, source: Source) -> None:
    folder = source("1")
    (folder / "optimizer.pt").write_text("not part of the adapter")
    version = store.publish("alice", folder, check=accept)
    home = root / user_folder("alice")
    assert {path.name for path in home.iterdir()} == {USER_FILE, CURRENT, version.version}
    assert (home / CURRENT).read_text() == version.version + "\n"
    stored = store.open("alice", version.version)
    assert stored == home / version.version
    assert {path.name for path in stored.iterdir()} == {*ADAPTER_FILES, VERSION_FILE}
    for name in ADAPTER_FILES:
        assert (stored / name).read_bytes() == (folder / name).read_bytes()
    assert version.published == "1970-01-01T00:00:00Z"
    assert version.size == sum((folder / name).stat().st_size for name in ADAPTER_FILES)
    assert not version.retired
    assert store.versions("alice") == [version]


def test_what_perce_tells_of_an_adapter_is_stored_with_it(
    store: LocalStore, source: Source
) -> None:
    folder = source("1")
    without = store.publish("alice", folder, check=accept)
    (folder / INFO_FILE).write_text("{}")
    version = store.publish("alice", folder, check=accept)
    assert version.version == read_content(folder).version != without.version
    assert version.size == without.size + 2
    stored = store.open("alice", version.version)
    assert {path.name for path in stored.iterdir()} == {*ADAPTER_FILES, INFO_FILE, VERSION_FILE}
    assert not any(finding.damage for finding in store.verify())

    # Publishing again mends it: what is absent comes back, what should not be there goes.
    (stored / INFO_FILE).unlink()
    (store.open("alice", without.version) / INFO_FILE).write_text("{}")
    assert sum(finding.damage for finding in store.verify()) == 3  # and so the current one
    store.publish("alice", folder, check=accept)
    (folder / INFO_FILE).unlink()
    store.publish("alice", folder, check=accept)
    assert not any(finding.damage for finding in store.verify())
    assert (stored / INFO_FILE).read_text() == "{}"


def test_the_base_model_it_was_checked_against_is_recorded(root: Path, source: Source) -> None:
    ticks = iter(range(10))
    store = LocalStore(root, clock=lambda: next(ticks))
    unknown = store.publish("alice", source("1"), check=accept)
    assert (unknown.base, recorded_base(store.open("alice", unknown.version))) == (None, None)
    for base in ("a" * 64, "b" * 64, "b" * 64):
        version = store.publish("alice", source("1"), check=lambda folder, base=base: base)
        assert version == replace(unknown, base=base)
        assert store.versions("alice") == [version]
        assert recorded_base(store.open("alice", version.version)) == base
    assert damage(store) == []


@pytest.mark.parametrize("name", ADAPTER_FILES)
def test_what_is_too_large_is_not_copied(root: Path, source: Source, name: str) -> None:
    store = LocalStore(root, max_bytes=1000)
    folder = source("1")
    with (folder / name).open("ab") as file:
        file.truncate(1 << 40)
    with pytest.raises(ValidationError, match=r"bytes or more, 1,000 is the most") as error:
        store.publish("alice", folder, check=lambda folder: pytest.fail("it was copied"))
    assert (error.value.code, error.value.file) == (Fault.FILE_TOO_LARGE, name)
    assert store.users() == []


def test_what_grows_while_it_is_copied_is_not_copied_further(
    root: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = source("1")
    (folder / WEIGHTS_FILE).write_bytes(bytes(1001))
    real = os.fstat

    def before_it_grew(handle: int) -> os.stat_result:
        status = list(real(handle))
        status[stat.ST_SIZE] = 0
        return os.stat_result(status)

    monkeypatch.setattr(os, "fstat", before_it_grew)
    with pytest.raises(ValidationError) as error:
        LocalStore(root, max_bytes=1000).publish("alice", folder, check=accept)
    assert error.value.code == Fault.FILE_TOO_LARGE


def test_either_file_makes_another_version(store: LocalStore, source: Source) -> None:
    one = store.publish("alice", source("1"), check=accept)
    (source("2") / WEIGHTS_FILE).write_bytes((source("1") / WEIGHTS_FILE).read_bytes())
    other = source("2")
    (other / WEIGHTS_FILE).write_bytes((source("1") / WEIGHTS_FILE).read_bytes())
    assert store.publish("alice", other, check=accept).version != one.version
    assert store.publish("bob", source("1"), check=accept).version == one.version


def test_what_is_checked_is_what_is_stored(store: LocalStore, source: Source) -> None:
    folder = source("1")

    def swap(copy: Path) -> None:
        (folder / WEIGHTS_FILE).write_text("swapped after the copy was made")

    version = store.publish("alice", folder, check=swap)
    assert (store.open("alice", version.version) / WEIGHTS_FILE).read_text() == "weights 1"


@pytest.mark.parametrize("name", ADAPTER_FILES)
@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (lambda path: None, Fault.MISSING_FILE),
        (lambda path: path.symlink_to("/etc/hostname"), Fault.SYMLINK),
        (lambda path: path.symlink_to("nowhere"), Fault.SYMLINK),
        (lambda path: path.mkdir(), Fault.NOT_A_FILE),
        (os.mkfifo, Fault.NOT_A_FILE),
    ],
    ids=["missing", "link", "dangling", "folder", "pipe"],
)
def test_only_regular_files_are_taken(
    store: LocalStore, root: Path, source: Source, name: str,
    make: Callable[[Path], object], fault: Fault,
) -> None:  # fmt: skip
    folder = source("1")
    (folder / name).unlink()
    make(folder / name)
    with pytest.raises(ValidationError, match=name) as error:
        store.publish("alice", folder, check=accept)
    assert error.value.code == fault
    assert store.users() == []
    assert {path.name for path in (root / SCRATCH).iterdir()} == {"lock"}


def test_a_linked_folder_is_refused(store: LocalStore, source: Source, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(source("1"))
    with pytest.raises(ValidationError) as error:
        store.publish("alice", link, check=accept)
    assert error.value.code == Fault.SYMLINK


def test_a_folder_that_becomes_a_link_leads_nowhere(
    store: LocalStore, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, other = source("1"), source("2")
    real = os.open

    def swapped_after(path: object, flags: int, *args: int, **options: int | None) -> int:
        handle = real(path, flags, *args, **options)  # type: ignore[arg-type]
        if path == folder:
            folder.rename(folder.with_name("moved away"))
            folder.symlink_to(other)
        return handle

    monkeypatch.setattr(os, "open", swapped_after)
    with open_regular(folder / CONFIG_FILE) as file:
        assert file.read() == b"config 1"
    monkeypatch.undo()
    with pytest.raises(ValidationError) as error:
        open_regular(folder / CONFIG_FILE)
    assert error.value.code == Fault.SYMLINK


@pytest.mark.parametrize("version", ["", ".", "..", "../../x", "/etc", CURRENT, "0" * 63, "A" * 64])
def test_no_version_is_a_path(store: LocalStore, source: Source, version: str) -> None:
    store.publish("alice", source("1"), check=accept)
    assert not store.has("alice", version)
    late = partial(store.open, retired=True)
    for call in (store.open, late, store.rollback, store.retire, store.collect):
        with pytest.raises(StoreError, match="user 'alice'"):
            call("alice", version)


def test_a_current_version_that_is_damaged_is_not_listed(store: LocalStore, source: Source) -> None:
    one, two = (store.publish("alice", source(text), check=accept).version for text in "12")
    assert store.served("alice") == [two, one]
    (store.open("alice", two) / VERSION_FILE).unlink()
    assert store.served("alice") == [one]
    assert store.served("bob") == []


@pytest.mark.parametrize("user", ["", "a\nb", "x" * 257])
def test_ids_that_break_the_rules(store: LocalStore, source: Source, user: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: store.publish(user, source("1"), check=accept),
        lambda: store.current(user),
        lambda: store.has(user, "0" * 64),
        lambda: store.served(user),
        lambda: store.versions(user),
        lambda: store.rollback(user),
        lambda: store.erase(user),
    ]
    for call in calls:
        with pytest.raises(UserError):
            call()


def test_a_full_disk_leaves_the_store_as_it_was(
    store: LocalStore, root: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = store.publish("alice", source("1"), check=accept)
    real = os.fsync
    for calls in range(100):
        left = calls

        def full(handle: int) -> None:
            nonlocal left
            if left == 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            left -= 1
            real(handle)

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            try:
                store.publish("alice", source("2"), check=accept)
                break
            except OSError:
                pass
        assert store.has("alice", version.version)
        assert {path.name for path in (root / SCRATCH).iterdir()} <= {"lock", "file"}
        assert damage(store) == []
    assert calls > 3


def test_the_current_version_is_not_retired(store: LocalStore, source: Source) -> None:
    one = store.publish("alice", source("1"), check=accept).version
    with pytest.raises(StoreError, match="roll back first"):
        store.retire("alice", one)
    two = store.publish("alice", source("2"), check=accept).version
    store.retire("alice", one)
    store.retire("alice", one)
    with pytest.raises(StoreError, match="publish one"):
        store.rollback("alice")
    with pytest.raises(StoreError, match="retire it first"):
        store.collect("alice", two)
    assert store.publish("alice", source("1"), check=accept).retired is False
    assert store.rollback("alice") == two


@pytest.mark.parametrize("older", [1, 2])
def test_rolling_back_from_a_damaged_version(
    store: LocalStore, root: Path, source: Source, older: int
) -> None:
    versions = [
        store.publish("alice", source(str(number)), check=accept).version
        for number in range(older + 1)
    ]
    (store.open("alice", versions[-1]) / VERSION_FILE).unlink()
    assert store.rollback("alice") == versions[-2]
    assert damage(store)[0].startswith(f"user 'alice': version {versions[-1]}")


def test_a_version_collected_between_two_looks_was_never_served(
    store: LocalStore, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = store.publish("alice", source("1"), check=accept).version
    store.publish("alice", source("2"), check=accept)
    store.retire("alice", one)
    real = Path.is_file

    def collected_next(path: Path) -> bool:
        found = real(path)
        store.collect("alice", one)
        return found

    monkeypatch.setattr(Path, "is_file", collected_next)
    assert not store.has("alice", one)


def test_what_was_current_is_remembered_within_bounds(
    store: LocalStore, root: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "_MOST_HISTORY", 3)
    for number in range(5):
        store.publish("alice", source(str(number)), check=accept)
    lines = (root / user_folder("alice") / CURRENT).read_text().splitlines()
    assert lines == [read_content(source(number)).version for number in "432"]


def test_verify_while_another_publishes_or_erases(store: LocalStore, source: Source) -> None:
    one = store.publish("alice", source("1"), check=accept).version

    def withdraw(folder: Path) -> None:
        store.publish("alice", source("2"), check=accept)
        store.retire("alice", one)
        store.collect("alice", one)
        raise FileNotFoundError(folder)

    assert not any(finding.damage for finding in store.verify(withdraw))
    findings = store.verify(lambda folder: store.erase("alice", delete=True))
    assert not any(finding.damage for finding in findings)


def test_without_a_store(store: LocalStore, root: Path) -> None:
    with pytest.raises(StoreError, match="publish into it first"):
        store.users()
    with pytest.raises(StoreError, match="publish into it first"):
        list(store.verify())
    assert not store.erase("alice")
    assert not root.exists()


def write_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


DAMAGE: list[tuple[Callable[[Path, Path], object], str]] = [
    (lambda home, version: (version / WEIGHTS_FILE).write_text("other"), "have changed"),
    (lambda home, version: (version / CONFIG_FILE).unlink(), "no such file"),
    (lambda home, version: (version / VERSION_FILE).write_text("{"), "not JSON"),
    (lambda home, version: (version / VERSION_FILE).unlink(), "no such file"),
    (lambda home, version: write_json(version / VERSION_FILE, version="0"), "another version"),
    (lambda home, version: write_json(version / VERSION_FILE, format=2), "format 1"),
    (lambda home, version: write_json(version / VERSION_FILE, user="bob"), "user 'bob'"),
    (lambda home, version: write_json(home / USER_FILE, user="bob"), "another user"),
    (lambda home, version: write_json(home / USER_FILE, user=""), "another user"),
    (lambda home, version: (home / USER_FILE).write_text("[" * 100_000), "not JSON"),
    (lambda home, version: (home / USER_FILE).unlink(), "no such file"),
    (lambda home, version: (home / CURRENT).write_text("../x\n"), "not a list"),
    (lambda home, version: (home / CURRENT).write_text(""), "not a list"),
    (lambda home, version: (home / CURRENT).unlink(), "no such file"),
    (lambda home, version: (home / CURRENT).write_text("0" * 64 + "\n"), "cannot be served"),
    (lambda home, version: (home / "notes").write_text(""), "no part of the store"),
    (lambda home, version: (home / ("0" * 64)).symlink_to("/etc"), "symbolic link"),
]


@pytest.mark.parametrize(("spoil", "part"), DAMAGE)
def test_verify_finds(
    store: LocalStore, root: Path, source: Source, spoil: Callable[[Path, Path], object], part: str
) -> None:
    version = store.publish("alice", source("1"), check=accept)
    store.publish("carol", source("1"), check=accept)
    assert damage(store) == []
    home = root / user_folder("alice")
    spoil(home, home / version.version)
    found = damage(store)
    assert any(part in text for text in found)
    assert all("\n" not in text for text in found)
    assert not any("carol" in text for text in found)


NO_DAMAGE = ("no part of the store", "symbolic link", "format 1")


@pytest.mark.parametrize(("spoil", "part"), [case for case in DAMAGE if case[1] not in NO_DAMAGE])
def test_publishing_again_mends(
    store: LocalStore, root: Path, source: Source, spoil: Callable[[Path, Path], object], part: str
) -> None:
    version = store.publish("alice", source("1"), check=accept)
    home = root / user_folder("alice")
    spoil(home, home / version.version)
    assert store.publish("alice", source("1"), check=accept).version == version.version
    assert damage(store) == []
    assert store.users() == ["alice"]
    assert store.current("alice") == version.version


@pytest.mark.parametrize("file", [USER_FILE, VERSION_FILE])
def test_what_a_later_release_wrote_is_left_alone(
    store: LocalStore, root: Path, source: Source, file: str
) -> None:
    version = store.publish("alice", source("1"), check=accept)
    home = root / user_folder("alice")
    path = home / file if file == USER_FILE else home / version.version / file
    write_json(path, format=2)
    before = path.read_bytes()
    with pytest.raises(StoreError, match="use the release that wrote it"):
        store.publish("alice", source("1"), check=accept)
    assert path.read_bytes() == before


def test_verify_checks_what_is_served(store: LocalStore, source: Source) -> None:
    one = store.publish("alice", source("1"), check=accept).version
    two = store.publish("alice", source("2"), check=accept).version
    store.retire("alice", one)
    checked = []
    findings = list(store.verify(checked.append))
    assert [folder.name for folder in checked] == [two]
    assert sorted(finding.text.split("(")[1] for finding in findings) == ["current)", "retired)"]

    def refuse(folder: Path) -> None:
        raise ValidationError(Fault.RANK, "too high")

    assert any("too high" in finding.text for finding in store.verify(refuse) if finding.damage)
