"""Every way a request can end badly, and the exit code it ends with.

    GanauditError               6    our own fault, or the machine's: bug, full disk
    ├── ConfigError             2    the request cannot be carried out as asked
    │   ├── PluginError         2    a plugin is missing, doubled or not importable
    │   └── DescriptorError     2    the descriptor gave rows that are no embeddings
    ├── SourceError             3    the generator under audit misbehaved
    │   ├── SourceTimeout       3    it did not answer in time
    │   └── SourceGone          3    it cannot be asked any further
    └── UnsafeCheckpoint        5    refused; nothing in the file was executed

A message says what was wanted, what came and, where there is one, the remedy: one sentence for a
person who has not read the code. Exit codes are an API: 0 pass, 1 a gate failed and 4 inconclusive
are results, not errors; 130 is Ctrl-C.
"""

from pathlib import Path

INTERRUPTED = 130  # exit code of Ctrl-C
_MOST_SAID = 2000  # characters of a message


class GanauditError(Exception):
    """Base of everything ganaudit raises on purpose."""

    exit_code = 6


def complaint(error: BaseException) -> str:
    """An error's text for a terminal: bounded, and without what would steer it."""
    text = "".join(c if c.isprintable() else "\ufffd" for c in str(error))
    return text if len(text) <= _MOST_SAID else f"{text[:_MOST_SAID]}..."


def one_line(error: BaseException) -> str:
    """A foreign error's name and text in one line; our own errors' text alone."""
    text = " ".join(str(error).split())[:300]
    return text if isinstance(error, GanauditError) else f"{type(error).__name__}: {text}"


class ConfigError(GanauditError):
    """The request is malformed or cannot be carried out; nothing that was stored is touched."""

    exit_code = 2


class PluginError(ConfigError):
    """A plugin is unknown, claimed twice, lacks a dependency, or refuses its options."""


class DescriptorError(ConfigError):
    """The descriptor returned rows that cannot be compared: zero, NaN or of the wrong shape."""


class SourceError(GanauditError):
    """The generator under audit raised, or returned something that is not images."""

    exit_code = 3


class SourceTimeout(SourceError):
    """The generator under audit did not answer within the time allowed."""


class SourceGone(SourceError):
    """A service cannot be asked any further: an outage, a refused token, a spent budget.

    It is no property of the slots that were asked for, so none of them has failed: the run ends,
    and goes on with --resume.
    """


class UnsafeCheckpoint(GanauditError):
    """A file was refused because reading it would mean running it.

    Attributes:
      file: the file; None: it is not known.
    """

    exit_code = 5

    def __init__(self, message: str, file: Path | None = None) -> None:
        super().__init__(message)
        self.file = file
