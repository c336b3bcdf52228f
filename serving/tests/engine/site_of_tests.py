"""One ``perce-serve`` in a process of its own, with a store, keys and clients."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai

from engine.tiny_models import CONTEXT, RANK, write_adapter, write_model
from perce_serving.store import LocalStore
from perce_serving.tenant.identity import Caller
from perce_serving.tenant.keys import KeyFile
from perce_serving.validate import BaseModel, Validator

SECONDS = 600
"""After which a server that does not come up, or a state that is not reached, is given up."""


class Site:
    """A store, its server and those who talk to it."""

    def __init__(self, root: Path, port: int) -> None:
        self.root = root
        self.url = f"http://127.0.0.1:{port}"
        self.model = write_model(root / "Tiny")
        self.store = LocalStore(root / "store")
        self.store.check_writable()
        self.keys = KeyFile(root / "keys.json")
        self.operator = self.keys.create(Caller(operator=True)).text
        self._validator = Validator(BaseModel.read(self.model), max_rank=RANK)
        self._clients: list[openai.OpenAI] = []

    def adapter(self, seed: int) -> Path:
        """A folder with the adapter of this seed."""
        folder = self.root / f"adapter-{seed}"
        return folder if folder.exists() else write_adapter(folder, self.model, seed=seed)

    def publish(self, user: str, seed: int) -> str:
        """Publish a user's next version."""
        return self.publish_folder(user, self.adapter(seed))

    def publish_folder(self, user: str, folder: Path) -> str:
        """Publish an adapter of any making."""
        return self.store.publish(user, folder, check=self._validator.check).version

    def client(self, user: str) -> openai.OpenAI:
        """A stock client with a new key of the user's."""
        key = self.keys.create(Caller(user=user)).text
        client = openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0)
        self._clients.append(client)
        return client

    def close(self) -> None:
        """Close the clients' connections, which they keep open."""
        for client in self._clients:
            client.close()

    def get(self, path: str) -> tuple[int, str]:
        """What the operator gets."""
        return self.ask(path, method="GET", key=self.operator)

    def ask(
        self, path: str, *, method: str, key: str, body: bytes | None = None
    ) -> tuple[int, str]:
        """Status and text of any request."""
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, body, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""


def say(client: openai.OpenAI, text: str = "hello", *, model: str = "me", **more: Any) -> Any:
    """One greedy answer of a few tokens."""
    return client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": text}],
        temperature=0,
        **{"max_tokens": 12, **more},
    )


def until(condition: Callable[[], bool]) -> None:
    """Wait for a state that the server reaches by itself."""
    end = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("the state was not reached")
        time.sleep(0.05)


@contextmanager
def serving(root: Path, port: int) -> Iterator[Site]:
    """Start a server over an empty store; when the block ends, so does it."""
    site = Site(root, port)
    words = [
        f"--model={site.model}",
        f"--store={site.store.root}",
        f"--keys={site.keys.path}",
        f"--port={port}",
        "--dtype=float32",
        "--max-loras=2",
        f"--max-lora-rank={RANK}",
        f"--max-model-len={CONTEXT}",
        "--collect-seconds=0.1",
        "--limit=rate=1000",
        "--limit=burst=1000",
        f"--limit=tokens={CONTEXT}",
        "--",
        "--max-cpu-loras=2",
        "--enable-prompt-tokens-details",
        "--enforce-eager",
    ]
    command = [str(Path(sys.executable).with_name("perce-serve")), *words]
    log = root / "log"
    with log.open("wb") as file:
        server = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, env={**os.environ}, cwd=root
        )
    try:
        until(lambda: server.poll() is not None or site.get("/health")[0] == 200)
        if server.poll() is not None:
            raise RuntimeError(f"the server ended: {log.read_text(errors='replace')[-4000:]}")
        yield site
        assert server.poll() is None, log.read_text(errors="replace")[-4000:]
    finally:
        site.close()
        server.terminate()
        try:
            server.wait(60)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
