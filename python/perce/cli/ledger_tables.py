"""A ledger's counts, tokens and quantiles as tables in a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from perce.ledger import Distribution, ScoreLedger
from perce.ledger.distribution import QUANTILES
from perce.ledger.summary import PersonalToken, Summary, UserCounts
from perce.report.characters import visible

_LONGEST_NAME = 32

Pieces = Callable[[Sequence[int]], list[str]]


def print_summary(
    ledger: ScoreLedger,
    summary: Summary,
    *,
    threshold: float,
    most: int,
    pieces: Pieces | None,
) -> None:
    """Print what the ledger is of, a table of users and one of tokens.

    Args:
        ledger: whose figures these are.
        summary: the figures.
        threshold: PIR in nats above which a token counted as personal.
        most: users to list at most.
        pieces: turns a response's ids into texts; without it tokens are shown as ids.
    """
    console = Console(highlight=False)
    _print_head(console, ledger)
    console.print(_user_table(summary, most))
    left = len(summary.users) - most
    if left > 0:
        console.print(f"and {left:,} more, less personal (--top lists more)")
    if not summary.tokens:
        console.print(f"No token is personal now: no moving average of PIR is above {threshold:g}.")
        return
    # Wider terminals show more of a token's surroundings: the names beside it are mostly short.
    context = min(max((console.width - 60) // 3, 8), 32)
    console.print(_token_table(ledger, summary.tokens, threshold, pieces, context))
    if pieces is None:
        console.print("No tokenizer is saved with this run: --model gives the tokens' texts.")


def print_quantiles(
    ledger: ScoreLedger, found: list[Distribution], *, threshold: float, by_epoch: bool
) -> None:
    """Print one line a distribution.

    Args:
        ledger: whose figures these are.
        found: the distributions.
        threshold: PIR in nats above which a token counted as personal.
        by_epoch: whether they are one an epoch.
    """
    console = Console(highlight=False)
    _print_head(console, ledger)
    table = Table(title="PIR in nats, as computed at each visit", title_justify="left")
    if by_epoch:
        table.add_column("visit", justify="right")
    table.add_column("steps", justify="right")
    table.add_column("tokens", justify="right")
    table.add_column(f"PIR > {threshold:g}", justify="right")
    for q in QUANTILES:
        table.add_column(f"p{round(100 * q):02d}", justify="right")
    for number, part in enumerate(found, start=1):
        table.add_row(
            *([str(number)] if by_epoch else []),
            f"{part.first_step}-{part.last_step}",
            f"{part.tokens:,}",
            f"{part.personal_share:.1%}",
            *(f"{value:+.2f}" for value in part.quantiles().tolist()),
        )
    console.print(table)


def _print_head(console: Console, ledger: ScoreLedger) -> None:
    visits, last_step = ledger.visits(), ledger.last_step()
    visited = int(np.count_nonzero(visits))
    state = (
        f"{ledger.folder}: {visited:,} of {len(visits):,} records visited, "
        f"{int(visits.sum(dtype=np.int64)):,} visits up to step {int(last_step.max())}, "
        f"decay {ledger.info.decay:g}"
    )
    for line in (state, f"data: {ledger.data.path}", *(f"note: {n}" for n in ledger.notes)):
        console.print(Text(visible(line)), soft_wrap=True)


def _user_table(summary: Summary, most: int) -> Table:
    table = Table(title="Users, most personal first", title_justify="left")
    table.add_column("user", max_width=_LONGEST_NAME, overflow="ellipsis")
    for name in ("records", "tokens", "personal", "ever", "mean PIR", "since"):
        table.add_column(name, justify="right", no_wrap=True)
    for counts in summary.users[:most]:
        table.add_row(Text(_one_line(counts.user)), *_figures(counts))
    if len(summary.users) > 1:
        table.add_section()
        table.add_row(f"all {len(summary.users):,}", *_figures(summary.total))
    return table


def _figures(counts: UserCounts) -> tuple[str, ...]:
    records = f"{counts.records:,}"
    if counts.visited < counts.records:
        records = f"{counts.visited:,} of {records}"
    tokens = max(counts.tokens, 1)
    return (
        records,
        f"{counts.tokens:,}",
        f"{counts.personal:,} ({counts.personal / tokens:.1%})",
        f"{counts.ever:,} ({counts.ever / tokens:.1%})",
        f"{counts.mean_pir:+.3f}" if counts.tokens else "-",
        "-" if counts.first_step is None else str(counts.first_step),
    )


def _token_table(
    ledger: ScoreLedger,
    tokens: list[PersonalToken],
    threshold: float,
    pieces: Pieces | None,
    context: int,
) -> Table:
    table = Table(
        title=f"Most personal tokens (moving average of PIR > {threshold:g})", title_justify="left"
    )
    for name in ("user", "record"):
        table.add_column(name, max_width=_LONGEST_NAME, overflow="ellipsis")
    table.add_column("token" if pieces is None else "token in its response", no_wrap=True)
    for name in ("at", "PIR", "since", "visits"):
        table.add_column(name, justify="right", no_wrap=True)
    for token in tokens:
        table.add_row(
            Text(_one_line(token.user)),
            Text(_one_line(token.record_id)),
            _in_context(ledger, token, pieces, context),
            str(token.position),
            f"{token.pir:+.2f}",
            str(token.since),
            str(token.visits),
        )
    return table


def _in_context(
    ledger: ScoreLedger, token: PersonalToken, pieces: Pieces | None, context: int
) -> Text:
    if pieces is None:
        return Text(f"id {token.token_id}")
    start, end = ledger.data.response_offsets[token.record : token.record + 2]
    texts = pieces(ledger.data.response_ids[start:end].tolist())
    before = _one_line("".join(texts[: token.position]))[-context:]
    after = _one_line("".join(texts[token.position + 1 :]))[: context // 2]
    # A token that is only a part of a character has no text of its own.
    own = _one_line(texts[token.position]) or f"id {token.token_id}"
    return Text.assemble((before.rjust(context), "dim"), "[", (own, "bold"), "]", (after, "dim"))


def _one_line(text: str) -> str:
    return visible(text).replace("\n", "⏎").replace("\t", "⇥")
