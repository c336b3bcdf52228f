"""vLLM alone and vLLM behind perce-serve: started on one model and one store, asked alike."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving_load import BrokenError, Request
from serving_models import RANK

if TYPE_CHECKING:
    from aiohttp import ClientSession

_START_SECONDS = 600
_STOP_SECONDS = 60
_PER_USER = 64
BASE = "base"
"""A user without an adapter, and the name under which vLLM alone serves the base model."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """What both servers are started on."""

    model: Path
    store: Path
    keys: Path
    operator: str
    """An operator's key."""
    folders: Mapping[str, Path]
    """Each user's adapter, as the store keeps it."""
    user_keys: Mapping[str, str]
    """Each user's key."""
    logs: Path
    length: int
    """Most tokens of a request, prompt and answer."""
    dtype: str
    """In which the model runs."""


class Arm:
    """One server: ``vLLM`` alone, or ``perce-serve``."""

    def __init__(self, http: ClientSession, name: str, place: Place, *, max_loras: int) -> None:
        self._http = http
        self.name = name
        self.place = place
        self.max_loras = max_loras
        self._port = _free_port()
        self._loaded: set[str] = set()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Of the server."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def log(self) -> Path:
        """What the server printed."""
        return self.place.logs / f"{self.name}-{self.max_loras}.log"

    def command(self, extra: Sequence[str]) -> list[str]:
        """How the server is started; ``extra`` are options of vLLM's."""
        options = [
            *("--model", str(self.place.model), "--host", "127.0.0.1", "--port", str(self._port)),
            *("--max-loras", str(self.max_loras), "--max-lora-rank", str(RANK)),
            *("--max-model-len", str(self.place.length), "--dtype", self.place.dtype),
        ]
        if self.name == "vLLM":
            module = ["-m", "vllm.entrypoints.openai.api_server"]
            named = ["--enable-lora", "--served-model-name", BASE]
            return [sys.executable, *module, *options, *named, *extra]
        # One user stands for many in some rows: what a single one may ask for is no subject here.
        bounds = ["--limit", "rate=1e6", "--limit", "burst=1e6", "--gate", f"per_user={_PER_USER}"]
        store = ["--store", str(self.place.store), "--keys", str(self.place.keys)]
        program = str(Path(sys.executable).with_name("perce-serve"))
        return [program, *store, *options, *bounds, "--", *extra]

    async def start(self, extra: Sequence[str]) -> None:
        """Start the server and wait until it answers.

        Raises:
            BrokenError: it ended, or does not answer.
        """
        environment = {
            # Without them, vLLM on a CPU takes threads and memory as if it were alone there.
            "OMP_NUM_THREADS": str(os.cpu_count()),
            "VLLM_CPU_KVCACHE_SPACE": "1",
            **os.environ,
            "HF_HUB_OFFLINE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
        }
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                self.command(extra),
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,  # so that its engine's processes are stopped with it
            )
        end = time.monotonic() + _START_SECONDS
        while not await self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                last = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
                raise BrokenError(f"{self.name} did not start:\n{last}")
            await asyncio.sleep(0.5)

    async def _answers(self) -> bool:
        from aiohttp import ClientError

        headers = {"Authorization": f"Bearer {self.place.operator}"}
        try:
            async with self._http.get(f"{self.url}/health", headers=headers) as response:
                return response.status == 200
        except ClientError:  # nobody listens yet
            return False

    async def load(self, user: str) -> None:
        """Make a user's adapter known to vLLM alone; perce-serve has them from the store.

        Raises:
            BrokenError: vLLM refuses it.
        """
        if self.name != "vLLM" or user == BASE or user in self._loaded:
            return
        body = {"lora_name": user, "lora_path": str(self.place.folders[user])}
        async with self._http.post(f"{self.url}/v1/load_lora_adapter", json=body) as response:
            if response.status != 200:
                raise BrokenError(f"{user}: {await response.text()}")
        self._loaded.add(user)

    def request(self, user: str, prompt: list[int], tokens: int) -> Request:
        """A request of a user for the user's own adapter; of ``BASE``, for the base model."""
        return Request(
            model=user if self.name == "vLLM" else "me",
            key=self.place.user_keys[user],
            prompt=prompt,
            tokens=tokens,
        )

    async def stream(self, request: Request) -> AsyncIterator[dict[str, Any]]:
        """Events of a streamed completion.

        Raises:
            BrokenError: the server refused it, or broke off.
        """
        # Of the server's environment; the part without a server runs where it is absent.
        from aiohttp import ClientError

        body = {
            "model": request.model,
            "prompt": request.prompt,
            "max_tokens": request.tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        headers = {"Authorization": f"Bearer {request.key}"}
        url = f"{self.url}/v1/completions"
        try:
            async with self._http.post(url, json=body, headers=headers) as response:
                if response.status != 200:
                    raise BrokenError(f"{response.status}: {(await response.text())[:200]}")
                async for line in response.content:
                    if line.startswith(b"data: {"):
                        yield json.loads(line.removeprefix(b"data: "))
        except ClientError as fault:
            raise BrokenError(f"{type(fault).__name__}: {fault}") from fault

    def resident(self) -> int:
        """Bytes of memory of all processes of the server, shared pages counted in each."""
        assert self._process is not None
        pages = 0
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if os.getpgid(int(folder.name)) == self._process.pid:
                    pages += int((folder / "statm").read_text().split()[1])
            except (OSError, ProcessLookupError):
                continue  # ended meanwhile
        return pages * os.sysconf("SC_PAGE_SIZE")

    def stop(self) -> None:
        """Stop the server and every process that it started."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_SECONDS)
        with suppress(ProcessLookupError):  # none is left
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@asynccontextmanager
async def both(
    place: Place, *, max_loras: int, extra: Sequence[str]
) -> AsyncIterator[tuple[Arm, Arm]]:
    """Run vLLM and perce-serve side by side: one idles while the other is asked."""
    from aiohttp import ClientSession, ClientTimeout, TCPConnector

    unbounded = {"connector": TCPConnector(limit=0), "timeout": ClientTimeout(total=None)}
    async with ClientSession(**unbounded) as http:
        alone = Arm(http, "vLLM", place, max_loras=max_loras)
        ours = Arm(http, "perce-serve", place, max_loras=max_loras)
        try:
            await alone.start(extra)
            await ours.start(extra)
            yield alone, ours
        finally:
            alone.stop()
            ours.stop()


def is_installed() -> bool:
    """Whether vLLM can be started here."""
    return importlib.util.find_spec("vllm") is not None


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
