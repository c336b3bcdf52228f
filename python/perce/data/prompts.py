"""From messages and profile items to the text a model reads before the response.

The rendering needs neither the tokenizer nor torch once the template is built, so that a server can
rebuild it from :meth:`PromptTemplate.to_dict` and give the model the very text it was trained on.
"""

from __future__ import annotations

import datetime
import functools
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

from perce.data.record import Message, ProfileItem
from perce.errors import ModelError, OptionError, RecordError, StoreError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PLAIN_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{{ message.role | capitalize }}:\n{{ message.content }}\n\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}Assistant:\n{% endif %}"
)
"""For base models without a chat template: each turn under its speaker's name."""

DEFAULT_DATE = "2024-07-26"
"""The date shown to templates that print today's: Llama 3's own fallback. A template that read the
clock would render other ids tomorrow than it was trained on."""

BREAKER = "\u200b"
"""Zero-width space: after a control token's first character, it looks alike and means nothing."""

_FORMAT_VERSION = 1
_SENTINEL = "perce-response-goes-here"
# What looks like a control token in a template's source: <|im_end|>, <think>, </s>, [INST].
_MARK = re.compile(r"<[^<>\s]{1,64}>|\[/?[A-Z][A-Z_]+\]")
_PIPED_MARK = re.compile(r"<[|\uff5c].*[|\uff5c]>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ProfileStyle:
    """The words around a profile's items; a source may bring its own.

    Attributes:
        intro: Before the first item.
        separator: Between two items.
        end: After the last item, before the user's message.
    """

    intro: str = "About the user:\n\n"
    separator: str = "\n\n"
    end: str = "\n\n"


@dataclass(frozen=True)
class PromptTemplate:
    """A model's chat template with everything that its output depends on.

    Build it with :meth:`from_tokenizer` or :meth:`from_dict`.

    Attributes:
        chat_template: Jinja source, in the dialect of transformers.
        special_tokens: Names that the template may use, such as ``bos_token``, and their text.
        template_kwargs: Further arguments to the template, such as ``enable_thinking``.
        date: ISO date that the template sees as today.
        style: The words around the profile's items.
        end_token_ids: Ids that close the response: what the template emits after the assistant's
            text, up to and including its end-of-turn token.
        control_tokens: Texts that :meth:`neutralise` breaks up.
    """

    chat_template: str
    special_tokens: Mapping[str, str]
    template_kwargs: Mapping[str, Any]
    date: str
    style: ProfileStyle
    end_token_ids: tuple[int, ...]
    control_tokens: tuple[str, ...]
    _pattern: re.Pattern[str] = field(init=False, repr=False, compare=False)
    _render: Callable[..., str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "special_tokens", MappingProxyType(dict(self.special_tokens)))
        object.__setattr__(self, "template_kwargs", MappingProxyType(dict(self.template_kwargs)))
        # A lookahead finds tokens that overlap, too: of each only the first character is consumed.
        tokens = "|".join(map(re.escape, self.control_tokens)) or r"(?!)"
        object.__setattr__(self, "_pattern", re.compile(f"(?={tokens}).", re.DOTALL))
        object.__setattr__(self, "_render", _compile(self.chat_template, self.date))

    @classmethod
    def from_tokenizer(
        cls,
        tokenizer: PreTrainedTokenizerFast,
        *,
        chat_template: str | None = None,
        template_kwargs: Mapping[str, Any] | None = None,
        date: str = DEFAULT_DATE,
        style: ProfileStyle | None = None,
    ) -> PromptTemplate:
        """Read the template, the control tokens and the end token of a tokenizer.

        Args:
            tokenizer: A fast transformers tokenizer.
            chat_template: Jinja source to use in place of the tokenizer's own; without either,
                :data:`PLAIN_TEMPLATE`, with a beginning-of-sequence token if the tokenizer adds
                one.
            template_kwargs: Arguments to the template; must be JSON.
            date: ISO date that the template sees as today.
            style: The words around the profile's items.

        Raises:
            OptionError: The template does not parse, fails, or leaves out what the user says; the
                date is no ISO date, or the arguments are not JSON.
            ModelError: Nothing says which token ends a response.
        """
        source = chat_template if chat_template is not None else _chat_template_of(tokenizer)
        special_tokens = {
            name: str(token)
            for name, token in tokenizer.special_tokens_map.items()
            if not isinstance(token, list | tuple | dict)
        }
        if source is None:
            source = PLAIN_TEMPLATE
            special_tokens["bos_token"] = _added_bos(tokenizer)
        kwargs = dict(template_kwargs or {})
        try:
            json.dumps(kwargs)
        except (TypeError, ValueError) as error:
            raise OptionError("chat_template_kwargs", f"is not JSON: {error}") from None
        template = cls(
            chat_template=source,
            special_tokens=special_tokens,
            template_kwargs=kwargs,
            date=date,
            style=style or ProfileStyle(),
            end_token_ids=(),
            control_tokens=_control_tokens(tokenizer, source),
        )
        return replace(template, end_token_ids=template._find_end(tokenizer))

    def render(self, messages: Sequence[Message], profile: Sequence[ProfileItem] = ()) -> str:
        """The text up to where the response begins.

        It is the chat template applied to :meth:`turns`. Encode the result with
        ``add_special_tokens=False``: what the model expects at the front is written out.

        Raises:
            RecordError: No user message, or the template refuses the conversation.
        """
        return self._apply(self.turns(messages, profile), add_generation_prompt=True)

    def turns(
        self, messages: Sequence[Message], profile: Sequence[ProfileItem] = ()
    ) -> list[dict[str, str]]:
        """The messages that the chat template gets: with the profile, and free of control tokens.

        The profile stands at the front of the first user message, so that a conversation keeps its
        prefix as it grows. An empty profile gives exactly the profile-free text. All texts pass
        through :meth:`neutralise`.

        Returns:
            A dict of ``role`` and ``content`` for each message.

        Raises:
            RecordError: No user message.
        """
        first_user = next((i for i, m in enumerate(messages) if m.role == "user"), None)
        if first_user is None:
            raise RecordError("holds no user message to put the profile in", field="messages")
        turns = [{"role": m.role, "content": self.neutralise(m.content)} for m in messages]
        if profile:
            items = self.style.separator.join(self.neutralise(item.text) for item in profile)
            block = f"{self.style.intro}{items}{self.style.end}"
            turns[first_user]["content"] = block + turns[first_user]["content"]
        return turns

    def neutralise(self, text: str) -> str:
        """Break up every control token that somebody wrote into a text.

        A zero-width space goes after the token's first character: the text reads the same, but
        encodes to ordinary tokens. Text without control tokens is returned as it is; doing it
        twice changes nothing more.
        """
        return self._pattern.sub(rf"\g<0>{BREAKER}", text)

    @property
    def hash(self) -> str:
        """SHA-256 over everything that the rendered text, its end and its cleaning depend on."""
        return template_hash(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, from which :meth:`from_dict` rebuilds an equal template."""
        return {
            "version": _FORMAT_VERSION,
            "chat_template": self.chat_template,
            "special_tokens": dict(self.special_tokens),
            "template_kwargs": dict(self.template_kwargs),
            "date": self.date,
            "style": asdict(self.style),
            "end_token_ids": list(self.end_token_ids),
            "control_tokens": list(self.control_tokens),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PromptTemplate:
        """Rebuild a template from :meth:`to_dict`.

        Raises:
            StoreError: A part is missing or of the wrong type, or another version wrote it.
        """
        if values.get("version") != _FORMAT_VERSION:
            raise StoreError(
                f"prompt template has version {values.get('version')!r}, this perce reads "
                f"{_FORMAT_VERSION}: prepare the data again"
            )
        try:
            return cls(
                chat_template=values["chat_template"],
                special_tokens=values["special_tokens"],
                template_kwargs=values["template_kwargs"],
                date=values["date"],
                style=ProfileStyle(**values["style"]),
                end_token_ids=tuple(int(token) for token in values["end_token_ids"]),
                control_tokens=tuple(values["control_tokens"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(f"prompt template cannot be read back: {error!r}") from None

    @property
    def arguments(self) -> dict[str, Any]:
        """What the chat template gets beside the messages: JSON, for a server to give it as well.

        Later entries win: a ``date_string`` among the arguments to the template is kept.
        """
        return {
            "date_string": _parse_date(self.date).strftime("%d %b %Y"),
            **self.special_tokens,
            **self.template_kwargs,
        }

    def _apply(self, turns: list[dict[str, str]], *, add_generation_prompt: bool) -> str:
        arguments = {"tools": None, "documents": None, **self.arguments}
        try:
            return self._render(
                messages=turns, add_generation_prompt=add_generation_prompt, **arguments
            )
        except Exception as error:  # noqa: BLE001 - a template is a program: it may fail anyhow
            raise RecordError(
                f"the chat template refuses them: {error}", field="messages"
            ) from None

    def _find_end(self, tokenizer: PreTrainedTokenizerFast) -> tuple[int, ...]:
        """Render an answer and read what follows it; the end-of-sequence token if nothing does."""
        question = {"role": "user", "content": "?"}
        answer = {"role": "assistant", "content": _SENTINEL}
        try:
            asked = self._apply([{**question, "content": _SENTINEL}], add_generation_prompt=True)
            answered = self._apply([question, answer], add_generation_prompt=False)
        except RecordError as error:
            raise OptionError(
                "chat_template", f"fails on a question and an answer: {error.message}"
            ) from None
        if _SENTINEL not in asked:
            raise OptionError("chat_template", "leaves out what the user says")
        _, found, tail = answered.rpartition(_SENTINEL)
        special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
        if found:
            ids = tokenizer(tail, add_special_tokens=False)["input_ids"]
            for position, token_id in enumerate(ids):
                if token_id in special:
                    return tuple(ids[: position + 1])
        if tokenizer.eos_token_id is None:
            raise ModelError(
                "nothing ends a response: the chat template emits no special token after the "
                "assistant's text and the tokenizer has no eos_token; set tokenizer.eos_token"
            )
        return (int(tokenizer.eos_token_id),)


def template_hash(values: Mapping[str, Any]) -> str:
    """The hash of a template by its :meth:`PromptTemplate.to_dict`."""
    text = json.dumps(values, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _chat_template_of(tokenizer: PreTrainedTokenizerFast) -> str | None:
    source: str | dict[str, str] | None = tokenizer.chat_template
    if isinstance(source, dict):
        if "default" not in source:
            raise OptionError(
                "chat_template",
                f"the tokenizer has several ({', '.join(sorted(source))}) and no default: give one",
            )
        return source["default"]
    return source


def _added_bos(tokenizer: PreTrainedTokenizerFast) -> str:
    """The beginning-of-sequence token's text, if the tokenizer puts one before plain text."""
    ids = tokenizer("a")["input_ids"]
    starts = tokenizer.bos_token_id is not None and ids[:1] == [tokenizer.bos_token_id]
    return str(tokenizer.bos_token) if starts else ""


def _control_tokens(tokenizer: PreTrainedTokenizerFast, source: str) -> tuple[str, ...]:
    """Special tokens, added tokens that act as such, and marks that the template writes."""
    marks = set(_MARK.findall(source))
    for token in tokenizer.added_tokens_decoder.values():
        # Added but not special: <think> acts as a control token, Gemma's <table> is plain text.
        if token.special or token.content in source or _PIPED_MARK.fullmatch(token.content):
            marks.add(token.content)
    # A single character cannot be broken up, and white space steers nothing.
    return tuple(sorted(mark for mark in marks if len(mark) > 1 and not mark.isspace()))


def _parse_date(text: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise OptionError("date", f"{text!r} is no ISO date such as {DEFAULT_DATE}") from None


class _GenerationTag(jinja2.ext.Extension):
    """``{% generation %}``, which marks the assistant's text in some templates, prints its body."""

    tags = {"generation"}  # noqa: RUF012 - jinja2 declares it so

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


@functools.lru_cache(maxsize=32)
def _compile(source: str, date: str) -> Callable[..., str]:
    """Compile a template in the environment that transformers gives it, but for the clock."""
    today = _parse_date(date)
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, jinja2.ext.loopcontrols]
    )

    def to_json(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, **options)

    def raise_exception(message: str) -> None:
        raise jinja2.TemplateError(message)

    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = today.strftime
    try:
        return environment.from_string(source).render
    except jinja2.TemplateError as error:
        raise OptionError("chat_template", f"does not parse: {error}") from None
