"""Every error perce-serving raises on purpose.

Each is one line that names the user, version, file or field at fault and says what to do. A child
also derives from the built-in error it refines, so existing handlers keep working.
"""

from __future__ import annotations


class ServingError(Exception):
    """Base of all errors raised by perce-serving; a command prints one line and exits with 2."""


class UserError(ServingError, ValueError):
    """A user id breaks the rules, or an adapter's name is none that this project makes."""


class StoreError(ServingError, RuntimeError):
    """The store cannot do what was asked: an absent user or version, a folder of other making."""


class DamagedError(StoreError):
    """What the store holds is not what it wrote; publishing again mends it."""


class ValidationError(ServingError, ValueError):
    """An adapter may not be served, or a base model cannot be read to check adapters against it.

    Carries ``code``, one word for one fault (``perce_serving.faults.Fault``), for metrics and
    callers; ``file``, the file at fault; ``field``, the configuration's key or the tensor's name,
    where one is at fault; and ``message``, what is said of them.
    """

    def __init__(
        self, code: str, message: str, *, file: str | None = None, field: str | None = None
    ) -> None:
        text = ": ".join(part for part in (file, field, message) if part is not None)
        # Names in a hostile file may hold anything; an error stays one line.
        super().__init__(text if text.isprintable() else text.encode("unicode_escape").decode())
        self.code = code
        self.message = message
        self.file = file
        self.field = field


class KeyFileError(ServingError, ValueError):
    """The file of keys cannot be read, or does not hold what this project writes."""


class ProfileError(ServingError, ValueError):
    """What is to be a user's profile may not be one: not a list of texts, or too long."""


class RequestError(ServingError, ValueError):
    """A request is refused before it reaches the model.

    Carries ``status``, the HTTP status; ``code``, one word for one reason
    (``perce_serving.refusal.CODES``), for metrics and callers; ``param``, the field of the
    body at fault, where one is; and ``retry_after``, the seconds after which trying again may help,
    where waiting helps.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param
        self.retry_after = retry_after


class StartError(ServingError, RuntimeError):
    """The server cannot start as it was asked to: an option, a file or a release is in the way."""
