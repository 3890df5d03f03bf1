"""A token: read from where the user said, put into one header, and shown to nobody."""

import html
import json
import os
import re
from base64 import b64encode
from os.path import commonprefix
from pathlib import Path
from urllib.parse import quote

from ganaudit.errors import ConfigError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_MOST_CHARACTERS = 2**13
_HIDDEN = "***"
_TELLING = 6  # characters at its beginning that give a token away that was cut or masked


class Secret:
    """A token that no text of ours contains."""

    def __init__(self, value: str, scheme: str = "") -> None:
        """Keep a token.

        Args:
          value: the token; the scheme may stand before it already.
          scheme: word before it in its header, such as Bearer; "": none.
        """
        begins = bool(scheme) and value.lower().startswith(f"{scheme.lower()} ")
        token = value[len(scheme) :].strip() if begins else value
        self._header = f"{scheme} {token}" if scheme else token
        encoded = b64encode(token.encode()).decode().rstrip("=")
        forms = {token, quote(token, safe=""), json.dumps(token)[1:-1], html.escape(token), encoded}
        self._forms = sorted(forms, key=len, reverse=True)
        # Whoever echoes it may break the line anywhere.
        broken = (r"\s*".join(map(re.escape, form)) for form in self._forms)
        starts = (re.escape(form[:_TELLING]) for form in self._forms)
        # In any case: a host's name, say, is written in lower case.
        self._whole = re.compile("|".join(broken), re.IGNORECASE | re.ASCII)
        self._start = re.compile("|".join(starts), re.IGNORECASE | re.ASCII)

    def __repr__(self) -> str:
        return f"Secret({_HIDDEN})"

    def __reduce__(self) -> str:
        raise TypeError("a secret is not stored")

    @property
    def header(self) -> str:
        """The value of the header that carries it."""
        return self._header

    def redacted(self, text: str) -> str:
        """`text` without the token: as it is, escaped for JSON, HTML or an address, in base64.

        Its first six characters and what follows of it go too: a message may have been cut.
        """
        text = self._whole.sub(_HIDDEN, text)
        parts, done = [], 0
        while found := self._start.search(text, done):
            at = found.start()
            length = max(
                len(commonprefix([text[at : at + len(form)].lower(), form.lower()]))
                for form in self._forms
            )
            parts += [text[done:at], _HIDDEN]
            done = at + length
        return "".join([*parts, text[done:]])


def read_secret(env: str | None, file: Path | None, scheme: str) -> Secret | None:
    """The token that the user named; None: none was named.

    Args:
      env: name of an environment variable.
      file: path of a file that holds the token and nothing else.
      scheme: word before it in its header.

    Raises:
      ConfigError: there is none, or it is no token. The message has neither it nor the name, which
        may be the token by mistake.
    """
    if env is not None:
        if not _NAME.fullmatch(env):
            raise ConfigError(
                "token_env wants the name of an environment variable (letters, digits, _), not the "
                "token itself"
            )
        value = os.environ.get(env, "")
        where = "the environment variable that token_env names"
    elif file is not None:
        where = "the file that token_file names"
        try:
            with file.open("rb") as opened:
                value = opened.read(_MOST_CHARACTERS + 3).decode()
        except (OSError, ValueError):
            raise ConfigError(f"{where} cannot be read as text") from None
    else:
        return None
    value = value.strip()
    if not value:
        raise ConfigError(f"{where} is not set, or empty")
    if len(value) > _MOST_CHARACTERS or not all(" " <= c <= "~" for c in value):
        raise ConfigError(
            f"{where} holds no token: one line of printable ASCII, at most {_MOST_CHARACTERS} "
            "characters"
        )
    return Secret(value, scheme)
