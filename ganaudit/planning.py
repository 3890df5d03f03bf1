"""What a run would be, before it is one: `--dry-run`."""

from typing import Any

from ganaudit.config import DiagnoseConfig
from ganaudit.finished import Basis
from ganaudit.opening import first_images, open_request
from ganaudit.reference import Reference
from ganaudit.slots import shard_ranges


def plan(config: DiagnoseConfig, *, expected: Basis | None = None) -> dict[str, Any]:
    """What `diagnose` would do: the request with origins, and an estimate from the first images.

    Args:
      config: the request.
      expected: what the run must have in common with another; None: nothing.

    Raises:
      GanauditError: whatever would stop the run at its start.
    """
    request = open_request(config)
    if expected is not None:
        Basis.of(request.manifest(), request.scale(), config).check(
            expected, here=config.generator, there="the baseline"
        )
    if config.reference is not None:
        Reference(request)
    slots = sum(
        end - begin
        for stop in (config.anchors, config.samples)
        for begin, end in shard_ranges(stop, config.part)
    )
    requests = request.requests(slots)
    found = first_images(request, batch=config.batch)
    seconds = found.seconds_per_image
    return {
        "request": config.shown(),
        "origins": dict(config.origins),
        "generator": request.generator,
        "scale": {"theta": request.theta, "radius": request.radius, **request.origins},
        "warnings": found.warnings,
        "estimate": {
            "images": slots,
            "requests": requests,
            "image_size": found.image_size,
            "batch": found.recipe.batch,
            "embedding_columns": found.recipe.width,
            "disk_bytes": slots * (4 * found.recipe.width + 17),
            "pairs": 0 if config.part else config.anchors * config.samples,
            "seconds_at_small_batches": None if seconds is None else slots * seconds,
        },
    }
