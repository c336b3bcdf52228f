"""What the server makes of messages: its tokenizer, chat template, and the template's arguments.

vLLM renders by the same three, so what is checked here against an adapter's training holds for what
the model reads. ``chat_template`` and ``arguments`` are for vLLM's options of these names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perce_serving.errors import RequestError, StartError
from perce_serving.refusal import refuse

if TYPE_CHECKING:
    from perce.data import PromptRecipe, PromptTemplate

_STYLE = frozenset({"intro", "separator", "end"})
_OTHER_DATE = "1999-12-31"


class ServedPrompt:
    """How one server makes prompts.

    Args:
        tokenizer: the model's, a fast one of transformers.
        chat_template: Jinja source; None for the tokenizer's own.
        arguments: what the template gets beside the messages, over perce's defaults, which include
            a fixed date.

    Attributes:
        tokenizer: the same.
        template: perce's.

    Raises:
        StartError: prompts cannot be made with these.
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        chat_template: str | None = None,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        from perce.data import PromptTemplate
        from perce.errors import PerceError

        self.tokenizer = tokenizer
        try:
            self.template: PromptTemplate = PromptTemplate.from_tokenizer(
                tokenizer, chat_template=chat_template, template_kwargs=arguments
            )
        except PerceError as error:
            raise StartError(f"prompts cannot be made with this chat template: {error}") from None
        self._reads_clock = _reads_clock(self.template)

    @classmethod
    def load(
        cls,
        model: Path,
        *,
        chat_template: str | None = None,
        arguments: Mapping[str, Any] | None = None,
    ) -> ServedPrompt:
        """Load the tokenizer of a model's folder, with no look at any network.

        Args:
            model: the folder.
            chat_template: Jinja source, or a file that holds it; None for the tokenizer's own.
            arguments: see ``ServedPrompt``.

        Raises:
            StartError: there is no fast tokenizer, or prompts cannot be made with it.
        """
        from transformers import AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True)
        except (OSError, ValueError) as error:
            line = " ".join(str(error).split())[:200]
            raise StartError(f"{model}: its tokenizer cannot be loaded: {line}") from None
        if not getattr(tokenizer, "is_fast", False):
            raise StartError(f"{model}: has no fast tokenizer; save one with tokenizer.json")
        return cls(tokenizer, chat_template=_source(chat_template), arguments=arguments)

    @property
    def chat_template(self) -> str:
        """Jinja source of the chat template."""
        return self.template.chat_template

    @property
    def arguments(self) -> dict[str, Any]:
        """What the chat template gets beside the messages; given back, they give themselves."""
        return self.template.arguments

    def check_clock(self) -> None:
        """Make sure that vLLM, which cannot be told the date of training, need not be.

        Raises:
            RequestError: the chat template asks for the time by itself.
        """
        if self._reads_clock:
            raise refuse(
                "profile",
                "the model's chat template prints the time, which no training's prompt has: "
                "leave perce.profile out",
                param="perce",
            )

    def check(self, recipe: PromptRecipe, tokenizer_hash: str) -> None:
        """Make sure that a recipe's prompts are those that this server makes.

        The template of a recipe, which is a program, is not run before it is known to be this
        server's own.

        Args:
            recipe: an adapter's.
            tokenizer_hash: of the server's tokenizer.

        Raises:
            RequestError: they are not; it says what differs.
        """
        from perce.data import PromptTemplate
        from perce.errors import PerceError

        if self._reads_clock:
            raise _refuse(
                "the model's chat template prints the time, as no training's prompt has it"
            )
        if recipe.tokenizer_hash != tokenizer_hash:
            raise _refuse("the adapter was trained with another tokenizer than this server's")
        values = recipe.template
        if values.get("chat_template") != self.chat_template:
            raise _refuse("the adapter was trained with another chat template than this server's")
        style = values.get("style")
        if (
            not isinstance(style, dict)
            or style.keys() != _STYLE
            or not all(isinstance(text, str) for text in style.values())
        ):
            raise _refuse("the adapter does not say in which words its prompts hold a profile")
        try:
            theirs = PromptTemplate.from_dict(values)
        except PerceError as error:
            raise _refuse(f"the adapter's prompts cannot be read: {error}") from None
        ours = self.template
        used = {name for name in ours.arguments | theirs.arguments if name in self.chat_template}
        for name in sorted(used):
            if theirs.arguments.get(name) != ours.arguments.get(name):
                raise _refuse(
                    f"the adapter was trained with another {name} in its prompts than this server's"
                )
        if (theirs.control_tokens, theirs.end_token_ids) != (
            ours.control_tokens,
            ours.end_token_ids,
        ):
            raise _refuse("the adapter was trained with other control tokens than this server's")


def _refuse(message: str) -> RequestError:
    return refuse("profile", f"{message}: leave perce.profile out, or train again", param="perce")


def _source(chat_template: str | None) -> str | None:
    """The Jinja source that vLLM's option means: a file's content, or the text itself."""
    if chat_template is None or any(sign in chat_template for sign in "{}\n"):
        return chat_template
    try:
        return Path(chat_template).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise StartError(f"--chat-template {chat_template}: cannot be read: {error}") from None


def _reads_clock(template: PromptTemplate) -> bool:
    """Whether what the template prints changes with the date, its arguments being the same."""
    from perce.data import Message
    from perce.errors import RecordError

    other = replace(template, date=_OTHER_DATE, template_kwargs=template.arguments)
    user, system = Message("user", "Q"), Message("system", "S")
    for messages in ([user], [system, user]):
        try:
            if template.render(messages) != other.render(messages):
                return True
        except RecordError:
            continue  # some templates take no system message
    return False
