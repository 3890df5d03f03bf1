"""Why slots have no image: sentences that a generator under audit may have worded."""

import json
from collections import Counter
from collections.abc import Mapping

OTHER_REASONS = "other reasons"
_DISTINCT, _LENGTH = 16, 200  # reasons of a shard, characters of a reason


def bounded(reasons: Mapping[str, int]) -> Counter[str]:
    """Reasons as they are kept, whatever a generator put into them.

    Args:
      reasons: slots by reason.

    Returns:
      The same number of slots by at most 16 reasons, each a printable line of at most 200
      characters, the rarest summed under `OTHER_REASONS`. Bounding it again changes nothing.
    """
    lines: Counter[str] = Counter()
    for reason, slots in reasons.items():
        lines[_printable_line(reason)] += slots
    others = lines.pop(OTHER_REASONS, 0)
    ranked = sorted(lines.items(), key=lambda item: (-item[1], item[0]))
    others += sum(slots for _, slots in ranked[_DISTINCT:])
    return Counter(dict(ranked[:_DISTINCT]) | ({OTHER_REASONS: others} if others else {}))


def _printable_line(text: str) -> str:
    line = "".join(c if c.isprintable() else "\ufffd" for c in " ".join(text.split()))
    return (line if len(line) <= _LENGTH else line[: _LENGTH - 3] + "...") or "no reason given"


def recorded(text: str, slots: int) -> Counter[str]:
    """The reasons in the JSON of a shard's metadata; none where they cannot be its `slots`'."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return Counter()
    if not isinstance(found, dict) or not all(type(n) is int and n > 0 for n in found.values()):
        return Counter()
    return bounded(found) if sum(found.values()) <= slots else Counter()
