"""The whole fleet: one user after the other, over one base model in memory.

Everything that an adapter depends on is its own user's or the fleet's: order, interruptions and
the other users change no bit of it. Users train one after the other here; a form that trains many
at once over the same base can come behind the same call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from perce.errors import LedgerError, OptionError, PerceError, RefusedAdapterError, WriteError
from perce.fleet.folder import FleetFolder
from perce.fleet.result import FleetReport, UserResult
from perce.fleet.slot import AdapterSlot
from perce.fleet.training import (
    check_config,
    train_user,
    training_identity,
    user_config,
)
from perce.fleet.users import UserSplits
from perce.publishing import Publisher
from perce.tokens import PreparedData
from perce.training import PerCEConfig

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


def train_fleet(
    slot: AdapterSlot,
    data: PreparedData,
    out: str | Path,
    *,
    config: PerCEConfig,
    users: Sequence[str] | None = None,
    eval_data: PreparedData | None = None,
    eval_share: float = 0.2,
    min_records: int = 5,
    start: str = "the base model",
    warnings: Sequence[str] = (),
    publisher: Publisher | None = None,
    progress: Progress | None = None,
) -> FleetReport:
    """Train one adapter a user into ``out``, or what is left of them.

    Finished users are not trained again, one under way goes on from its last checkpoint or from the
    start: either way all adapters are what an undisturbed run gives, bit for bit on a CPU.

    With a publisher, each user's adapter is published as soon as it is finished, and those that
    earlier runs have finished are, unless its store has them already.

    Args:
        slot: the base model and the adapter to start from.
        data: prepared data with the users' training records.
        out: the fleet's folder; it may hold an earlier run's users.
        config: training options; ``output_dir`` must not be given.
        users: ids of the users; all by default.
        eval_data: held-out records of the same users; without it, their last training records.
        eval_share: the share of a user's records to hold out where there is no ``eval_data``.
        min_records: fewest records to train on that a user needs.
        start: what the adapter of ``slot`` is, for the report.
        warnings: what a reader of the figures must know, for the report.
        publisher: publishes finished adapters.
        progress: told about users and steps.

    Returns:
        What became of the users of this run and of earlier ones. A user whose training fails is
        ``failed`` there, one whose adapter may not be served is in ``unpublished``, and the others
        go on.

    Raises:
        OptionError: an option cannot work or means nothing here, or a user is unknown.
        StoreError: ``out`` holds another fleet, cannot be written, or another process is at work
            in it.
        RefusedAdapterError: before any training, as no adapter like these may be served.
        PublishError: a user's id is none for a store, or the store cannot be written; what is
            finished stays, and the same call publishes it.
        WriteError, LedgerError: a training cannot write; what is finished stays.
        KeyboardInterrupt: Ctrl-C; a checkpoint and the report so far are saved.
    """
    check_config(config)
    if min_records < 1:
        raise OptionError("min_records", f"{min_records}: give at least 1")
    splits = UserSplits(data, eval_data, eval_share)
    chosen = splits.users if users is None else list(users)
    unknown = set(chosen) - set(splits.users)
    if unknown:
        raise OptionError("users", f"the data have no user {min(unknown)!r}")
    if publisher is not None:
        for user in chosen:
            publisher.check_user(user)
        publisher.rehearse(slot.model.save_pretrained)
    identity = {
        "data": str(data.meta["key"]),
        "held-out data": f"last {eval_share}" if eval_data is None else eval_data.meta["key"],
        **slot.identity(),
        **training_identity(config),
    }
    folder = FleetFolder(out, identity)
    tell = progress or _say_nothing
    published: dict[str, str] = {}
    unpublished: dict[str, str] = {}

    def report() -> FleetReport:
        held_out = (
            f"the last {eval_share:.0%} of each user's, in the order of the data"
            if eval_data is None
            else _name(eval_data)
        )
        return FleetReport(
            data=_name(data),
            held_out=held_out,
            start=start,
            threshold=config.personal_threshold,
            users=results,
            warnings=warnings,
            published=published,
            unpublished=unpublished,
        )

    with folder.alone():
        results = dict(folder.former)
        try:
            for done, user in enumerate(chosen):
                tell("users", done, len(chosen))
                result = _one(slot, user, splits, folder, config, min_records, tell)
                results[user] = result
                if publisher is None or result.folder is None:
                    continue
                try:
                    version = publisher.publish_once(user, folder.path / result.folder)
                except RefusedAdapterError as error:
                    unpublished[user] = str(error)
                else:
                    published[user] = version.version
            tell("users", len(chosen), len(chosen))
        finally:
            folder.write(report())
    return report()


def _one(
    slot: AdapterSlot,
    user: str,
    splits: UserSplits,
    folder: FleetFolder,
    config: PerCEConfig,
    min_records: int,
    tell: Progress,
) -> UserResult:
    """What becomes of one user."""
    finished = folder.finished(user)
    if finished is not None:
        folder.clear(user)
        return finished
    split = splits.split(user)
    counts: dict[str, Any] = {"records": len(split.train), "left_out": split.left_out}
    if split.held_out is None:
        return UserResult(state="skipped", reason="no record in eval_data to judge by", **counts)
    if len(split.train) < min_records:
        reason = f"{len(split.train)} records to train on, fewer than min_records {min_records}"
        if split.left_out:
            reason += f"; {split.left_out} more show a held-out response"
        return UserResult(state="skipped", reason=reason, **counts)

    try:
        fields = train_user(
            slot,
            splits.data.select(split.train),
            split.held_out,
            user_config(config, user, folder.work(user)),
            folder.staging(user),
            tell=lambda done, total: tell(f"training {user}", done, total),
        )
    except PerceError as error:
        # A full disk is no user's fault, and the next user would fail, too.
        if isinstance(error, WriteError | LedgerError) or isinstance(error.__cause__, OSError):
            raise
        # Its checkpoints lead to the same end.
        folder.clear(user)
        return UserResult(state="failed", reason=str(error), **counts)
    return folder.publish(user, {"left_out": split.left_out, **fields})


def _name(data: PreparedData) -> str:
    return f"{data.path.parent.name}/{data.path.name}"


def _say_nothing(what: str, done: int, total: int, /) -> None:
    del what, done, total
