"""The per-user table: in Markdown, and short in a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from perce.evaluation.bootstrap import LEVEL, Interval
from perce.evaluation.result import NOTHING
from perce.fleet.result import KINDS, FleetReport, Summary, UserResult
from perce.report.characters import visible

LABELS = {"nll": "all tokens", "nll_personal": "personal tokens"}
MOST_SHOWN = 20
"""Users in the terminal's table; the files have all."""

Row = tuple[str, ...]

_USER_HEAD = (
    "user",
    "records",
    "held out",
    "before",
    "after",
    "personal before",
    "personal after",
)


def summary_rows(report: FleetReport) -> list[Row]:
    """A row a kind of token: label, before, after, difference, share of users who got better."""
    rows: list[Row] = []
    for kind in KINDS:
        found = report.summary(kind)
        figures = (NOTHING,) * 4 if found is None else _figures(found)
        rows.append((LABELS[kind], *figures))
    return rows


def user_rows(report: FleetReport) -> list[Row]:
    """A row a trained user, those who gained most first."""

    def gain(entry: tuple[str, UserResult]) -> float:
        return entry[1].gain("nll") or 0.0

    return [
        (user, str(r.records), str(r.held_out), *map(_figure, _nlls(r)))
        for user, r in sorted(report.of("trained").items(), key=gain)
    ]


def notes(report: FleetReport) -> list[str]:
    """What a reader must know beside the figures."""
    trained, skipped, failed = (len(report.of(state)) for state in ("trained", "skipped", "failed"))
    users = (
        f"{trained} users trained, {skipped} skipped, {failed} failed. Adapters start from "
        f"{report.start}, which is what 'before' measures; 'after' is each user's own adapter on "
        "the same tokens."
    )
    figures = (
        f"NLL is in nats a token, over held-out records: {report.held_out}. Personal tokens are "
        f"those whose PIR under the base model is above {report.threshold:g} nats. Intervals are "
        f"{LEVEL:.0%}, from a bootstrap over users; they say how far a figure depends on which "
        "users there are, not on the training seed. In the difference users weigh as their tokens, "
        "in the share all alike."
    )
    told = [users, figures]
    left_out = sum(result.left_out for result in report.users.values())
    if left_out:
        told.append(
            f"{left_out} training records were left out because they show a held-out response."
        )
    return told + [f"Caution: {warning}" for warning in report.warnings]


def to_markdown(report: FleetReport) -> str:
    """Summary, notes, the users' table, and who was skipped or failed and why."""
    lines = [f"# One adapter a user: {report.data}", ""]
    lines += _table(
        ("held-out NLL", "before", "after", "difference", "users who got better"),
        summary_rows(report),
    )
    for note in notes(report):
        lines += ["", note]
    if report.of("trained"):
        lines += ["", *_table(_USER_HEAD, user_rows(report))]
    for title, state in (("Skipped", "skipped"), ("Failed", "failed")):
        found = report.of(state)  # type: ignore[arg-type]
        if found:
            rows: list[Row] = [(user, result.reason) for user, result in found.items()]
            lines += ["", f"## {title}", "", *_table(("user", "reason"), rows)]
    return "\n".join(lines) + "\n"


def print_report(report: FleetReport, *, console: Console | None = None) -> None:
    """Print the summary, what to know about it, and the first users of the table."""
    console = console or Console()
    table = Table("held-out NLL", "before", "after", "difference", "users who got better")
    for row in summary_rows(report):
        table.add_row(*map(Text, row))
    console.print(table)
    rows = user_rows(report)
    if rows:
        users = Table(*_USER_HEAD)
        for row in rows[:MOST_SHOWN]:
            users.add_row(*map(_text, row))
        console.print(users)
        if len(rows) > MOST_SHOWN:
            console.print(Text(f"and {len(rows) - MOST_SHOWN} more users", style="dim"))
    for note in notes(report):
        console.print(_text(note, style="dim"))
    for user, result in report.of("failed").items():
        console.print(_text(f"failed: {user}: {result.reason}", style="red"))


def _text(text: str, style: str = "") -> Text:
    # Ids and names of folders may hold what would command the terminal.
    return Text(visible(text).replace("\n", "⏎"), style=style)


def _figures(found: Summary) -> tuple[str, str, str, str]:
    return (
        f"{found.before:.3f}",
        f"{found.after:.3f}",
        _interval(found.difference, "+.3f"),
        f"{_interval(found.share, '.0%')} ({found.better} of {found.users})",
    )


def _interval(interval: Interval, form: str) -> str:
    text = format(interval.value, form)
    if interval.low is None or interval.high is None:
        return text
    return f"{text} [{interval.low:{form}}, {interval.high:{form}}]"


def _nlls(result: UserResult) -> list[float | None]:
    return [
        None if figures is None else getattr(figures, kind)
        for kind in KINDS
        for figures in (result.before, result.after)
    ]


def _figure(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.3f}"


def _table(head: Row, rows: list[Row]) -> list[str]:
    rule = ("---", *["---:"] * (len(head) - 1))
    return [_row(cells) for cells in (head, rule, *rows)]


def _row(cells: Row) -> str:
    # A user's id may hold anything: a bar would end the cell, a line break the table.
    plain = [" ".join(cell.replace("|", "\\|").split()) for cell in cells]
    return "| " + " | ".join(plain) + " |"
