"""How a service is asked: options that every plugin of this folder has, declared once."""

import inspect
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Any, get_type_hints

from ganaudit.errors import ConfigError
from ganaudit_plugins.generators.http_api.addresses import looks_secret

_MOST = {"concurrency": 256, "attempts": 100}
_MOST_SECONDS = 86_400.0
_MOST_BYTES = 2**31
_MOST_HEADERS, _MOST_HEADER = 32, 4096  # how many, characters of one
_CREDENTIALS = ("authorization", "cookie", "token", "secret", "password", "credential")
_OURS = (
    "host",
    "content-length",
    "transfer-encoding",
    "accept-encoding",
    "idempotency-key",
    "connection",
    "expect",
    "te",
    "trailer",
    "upgrade",
)
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")


@dataclass(frozen=True, kw_only=True)
class ServiceOptions:
    """How a service is asked.

    Attributes:
      token_env: environment variable that holds the token.
      token_file: file that holds it.
      token_header: header that carries it.
      token_scheme: word before it; "": none.
      headers: JSON object of further headers.
      concurrency: requests in flight at most; fewer while the service says that it is too much.
      rate: requests a second at most; None: no limit.
      attempts: times that a request is sent before its slot is put off.
      deadline: seconds without any success after which the service counts as gone; slots that were
        put off are asked for again at the end for as long.
      request_timeout: seconds for one request, from connecting to the last byte of the answer.
      max_bytes: of one answer.
      image_hosts: HOST or HOST:PORT that images may be fetched from, beside the service itself and
        public addresses.
    """

    token_env: str | None = None
    token_file: Path | None = None
    token_header: str = "Authorization"
    token_scheme: str = "Bearer"
    headers: str | None = None
    concurrency: int = 8
    rate: float | None = None
    attempts: int = 6
    deadline: float = 120.0
    request_timeout: float = 60.0
    max_bytes: int = 2**26
    image_hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what can be seen to be wrong before anything is sent."""
        for name, most in _MOST.items():
            if not 1 <= getattr(self, name) <= most:
                raise ConfigError(f"{name} must be in [1, {most}], got {getattr(self, name)}")
        for name in ("deadline", "request_timeout"):
            if not 0 < getattr(self, name) <= _MOST_SECONDS:
                raise ConfigError(
                    f"{name} must be seconds in (0, {_MOST_SECONDS:g}], got {getattr(self, name)}"
                )
        if self.rate is not None and not 1e-4 <= self.rate <= 1e6:
            raise ConfigError(f"rate must be requests a second in [1e-4, 1e6], got {self.rate}")
        if self.rate is not None and self.concurrency / self.rate > self.deadline / 4:
            raise ConfigError(
                f"at {self.rate:g} requests a second, {self.concurrency} in flight wait too long "
                f"for a deadline of {self.deadline:g} s: say a smaller concurrency, or --set "
                f"deadline={4 * self.concurrency / self.rate:.0f}"
            )
        if not 1024 <= self.max_bytes <= _MOST_BYTES:
            raise ConfigError(f"max_bytes must be in [1024, {_MOST_BYTES}], got {self.max_bytes}")
        if not _is_name(self.token_header) or self.token_header.lower() in _OURS:
            raise ConfigError("token_header must be the name of a header, such as Authorization")
        if not all("!" <= c <= "~" for c in self.token_scheme) or len(self.token_scheme) > 40:
            raise ConfigError("token_scheme must be a word such as Bearer, or empty")
        if self.token_env is not None and self.token_file is not None:
            raise ConfigError("token_env and token_file exclude each other")
        for host in self.image_hosts:
            if not _HOST.fullmatch(host):
                raise ConfigError(f"image_hosts must be HOST or HOST:PORT, got {host[:80]!r}")
        self.further_headers()

    def further_headers(self) -> dict[str, str]:
        """What `headers` says.

        Raises:
          ConfigError: it is no JSON object of texts, or a header that is not the user's to set.
        """
        if self.headers is None:
            return {}
        wanted = 'headers must be a JSON object of texts, such as {"x-use-cache": "false"}'
        try:
            found = json.loads(self.headers)
        except (ValueError, RecursionError):
            raise ConfigError(wanted) from None
        if not isinstance(found, dict) or len(found) > _MOST_HEADERS:
            raise ConfigError(wanted)
        for name, value in found.items():
            if not _is_name(name) or not isinstance(value, str) or len(value) > _MOST_HEADER:
                raise ConfigError(wanted)
            if not all(" " <= c <= "~" for c in value):
                raise ConfigError(f"headers: the value of {name} must be printable ASCII")
            if looks_secret(name) or any(word in name.lower() for word in _CREDENTIALS):
                raise ConfigError(
                    f"headers: {name} may carry a secret, which would stand in the command line "
                    "and in reports; say token_env or token_file, with token_header for its name"
                )
            if name.lower() in _OURS:
                raise ConfigError(f"headers: {name} is set by ganaudit")
        return {name.lower(): value for name, value in found.items()}


INCIDENTAL = tuple(entry.name for entry in fields(ServiceOptions) if entry.name != "headers")


def _is_name(text: str) -> bool:
    return 0 < len(text) <= 80 and all(c.isascii() and (c.isalnum() or c in "-_") for c in text)


def with_options(factory: Callable[..., Any]) -> Callable[..., Any]:
    """`factory` with the fields of `ServiceOptions` in place of its parameter `service`.

    `--set` fills them like the factory's own, and listings show them.
    """
    hints = get_type_hints(ServiceOptions)
    names = [entry.name for entry in fields(ServiceOptions)]
    options = [
        inspect.Parameter(
            entry.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=entry.default,
            annotation=hints[entry.name],
        )
        for entry in fields(ServiceOptions)
    ]
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(factory).parameters.items():
        parameters += options if name == "service" else [parameter]

    @wraps(factory)
    def opened(target: str, **values: Any) -> Any:
        chosen: Mapping[str, Any] = {name: values.pop(name) for name in names if name in values}
        return factory(target, service=ServiceOptions(**chosen), **values)

    # What the registry reads the options from.
    opened.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    opened.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return opened
