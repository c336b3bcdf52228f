"""The ``ProfileRenderer`` that makes prompts as perce's training made them."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import TYPE_CHECKING

from perce_serving.errors import RequestError
from perce_serving.prompt.served import ServedPrompt
from perce_serving.refusal import refuse
from perce_serving.store import AdapterStore, ProfileStore
from perce_serving.tenant.prompts import Asked, Turn
from perce_serving.users import AdapterName
from perce_serving.validate.info import PROMPT, read_info

if TYPE_CHECKING:
    from perce.data import PromptRecipe

_REMEMBERED = 1024
"""Versions whose recipe is kept: some 10 kB each."""


class Renderer:
    """Retrieves from a user's profile and renders, by the recipe in the adapter's ``perce.json``.

    The base model, which has none, gets perce's defaults: four items by BM25.

    It works in one thread of its own, off the event loop: a prompt takes some 10 ms of a core, of
    the largest profile over 100; and a tokenizer is not for several threads.

    Args:
        served: how the server makes prompts.
        store: of adapters.
        profiles: of profiles.
        context: the model's, in tokens.
    """

    def __init__(
        self, served: ServedPrompt, *, store: AdapterStore, profiles: ProfileStore, context: int
    ) -> None:
        from perce.data import Prompter, PromptRecipe

        self._served = served
        self._store = store
        self._profiles = profiles
        self._context = context
        self._prompter = Prompter(served.tokenizer)
        self._default = PromptRecipe(
            template=served.template.to_dict(),
            tokenizer_hash=self._prompter.tokenizer_hash,
            retrieval="bm25",
            k=4,
            seed=0,
            max_length=context,
            max_profile_length=None,
            response_length=0,
        )
        self._recipes: OrderedDict[str, PromptRecipe] = OrderedDict()
        self._thread = ThreadPoolExecutor(1, "perce-prompt")

    async def render(
        self,
        user: str,
        adapter: AdapterName | None,
        conversation: Sequence[Turn],
        asked: Asked,
        *,
        answer_tokens: int,
    ) -> list[dict[str, str]]:
        """See ``ProfileRenderer``."""
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, self._render, user, adapter, conversation, asked, answer_tokens
        )

    def close(self) -> None:
        """Let the thread end; what waits for it is not done."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _render(
        self,
        user: str,
        adapter: AdapterName | None,
        conversation: Sequence[Turn],
        asked: Asked,
        answer_tokens: int,
    ) -> list[dict[str, str]]:
        from perce.data import Message, ProfileItem
        from perce.errors import RecordError

        self._served.check_clock()
        recipe = self._default if adapter is None else self._recipe(adapter)
        profile = self._profiles.read(user)
        # As long as training's longest, and so that the answer still fits.
        most = min(recipe.max_length - recipe.response_length, self._context - answer_tokens)
        try:
            prompt = self._prompter.fit(
                recipe,
                [Message(turn.role, turn.content) for turn in conversation],
                [ProfileItem(**asdict(item)) for item in (profile.items if profile else ())],
                query=asked.query,
                most=most,
            )
        except RecordError as error:
            raise refuse("profile", str(error), param="messages") from None
        return prompt.turns

    def _recipe(self, adapter: AdapterName) -> PromptRecipe:
        """How a version's prompts are made; its files, and so the answer, never change."""
        from perce.data import PromptRecipe
        from perce.errors import ModelError

        known = self._recipes.get(adapter.version)
        if known is not None:
            self._recipes.move_to_end(adapter.version)
            return known
        # Also one that is being withdrawn: whether it is served is asked by others, and last.
        info = read_info(self._store.open(adapter.user, adapter.version, retired=True))
        if info is None or PROMPT not in info:
            raise _refuse("the adapter does not say how its prompts were made")
        try:
            recipe = PromptRecipe.from_dict(info[PROMPT])
        except ModelError as error:
            raise _refuse(str(error)) from None
        self._served.check(recipe, self._prompter.tokenizer_hash)
        self._recipes[adapter.version] = recipe
        if len(self._recipes) > _REMEMBERED:
            self._recipes.popitem(last=False)
        return recipe


def _refuse(message: str) -> RequestError:
    return refuse("profile", f"{message}: leave perce.profile out, or train again", param="perce")
