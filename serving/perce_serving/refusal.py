"""Reasons for which a request is refused, and how a refusal looks to an OpenAI client."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from types import MappingProxyType

from perce_serving.errors import RequestError

CODES: Mapping[str, int] = MappingProxyType(
    {
        "key": 401,  # no key, or one that is malformed, unknown or revoked
        "identity": 503,  # nobody can be told from anybody: the keys cannot be read
        "store": 503,  # what the user has cannot be read
        "route": 404,
        "method": 405,
        "slow": 408,  # the body did not arrive in time
        "header": 400,  # one that is given twice, or contradicts the body
        "size": 413,
        "media": 415,  # not JSON, or compressed
        "body": 400,  # not one well-formed JSON object
        "field": 400,  # a field that is not forwarded, or has a value that cannot be
        "profile": 400,  # a prompt with a profile that cannot be made as in training
        "model": 404,
        "rate": 429,
        "waiting": 429,  # as many of the user's requests wait, or are being read, as may
        "full": 503,  # as many of everybody's requests wait as may
        "long": 504,  # the answer did not begin within the time that one may take
    }
)
"""HTTP status by code: all reasons there are, so that metrics labelled by code are bounded."""

_TYPES = {
    401: "authentication_error",
    429: "rate_limit_error",
    503: "server_error",
    504: "server_error",
}


def refuse(
    code: str, message: str, *, param: str | None = None, retry_after: float | None = None
) -> RequestError:
    """Make the error for one of ``CODES``, with its status."""
    return RequestError(CODES[code], code, message, param=param, retry_after=retry_after)


def response(error: RequestError) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Return headers and body of a refusal, in the shape of OpenAI's errors.

    ``Retry-After`` is in whole seconds, rounded up: the official clients wait that long.
    """
    body = json.dumps(
        {
            "error": {
                "message": str(error),
                "type": _TYPES.get(error.status, "invalid_request_error"),
                "param": error.param,
                "code": error.code,
            }
        }
    ).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    if error.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if error.retry_after is not None:
        headers.append((b"retry-after", str(math.ceil(error.retry_after)).encode()))
    return headers, body
