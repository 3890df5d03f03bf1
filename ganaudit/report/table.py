"""The figures of every anchor, one row each."""

from io import BytesIO
from pathlib import Path

import pandas as pd
from pyarrow import ArrowException

from ganaudit.diagnosis import Diagnosis
from ganaudit.errors import ConfigError, one_line
from ganaudit.files import write_output

NAME = "per_anchor.parquet"


def frame(diagnosis: Diagnosis) -> pd.DataFrame:
    """[m] rows: slot, count, rate, mean_similarity, mccs, count_half, near_copy_p (adjusted)."""
    return pd.DataFrame(
        {
            "slot": diagnosis.slot_by_anchor,
            "count": diagnosis.count_by_anchor,
            "rate": diagnosis.count_by_anchor / diagnosis.samples,
            "mean_similarity": diagnosis.similarity_by_anchor,
            "mccs": diagnosis.mccs_by_anchor,
            "count_half": diagnosis.tally.within_half,
            "near_copy_p": diagnosis.near_copies.adjusted,
        }
    )


def write_parquet(diagnosis: Diagnosis, folder: Path) -> None:
    """Keep the table in a run's folder; a GanauditError where it cannot be written."""
    buffer = BytesIO()
    frame(diagnosis).to_parquet(buffer, index=False)
    write_output(folder / NAME, buffer.getvalue())


def read(folder: Path) -> pd.DataFrame:
    """The table of a finished run.

    Raises:
      ConfigError: it is missing or damaged.
    """
    path = folder / NAME
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError, ArrowException) as error:
        raise ConfigError(f"{path} cannot be read: {one_line(error)}") from error
