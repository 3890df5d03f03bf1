"""ganaudit: audits image generators as black boxes for intra-mode collapse.

    from ganaudit import DiagnoseConfig, diagnose
    audit = diagnose(DiagnoseConfig(generator="demo:collapsed"))

Names are imported when first used, so that the command line answers at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ganaudit.calibrating import Calibration as Calibration
    from ganaudit.calibrating import calibrate as calibrate
    from ganaudit.config import CalibrateConfig as CalibrateConfig
    from ganaudit.config import DiagnoseConfig as DiagnoseConfig
    from ganaudit.config import TrainConfig as TrainConfig
    from ganaudit.pipeline import Audit as Audit
    from ganaudit.pipeline import diagnose as diagnose
    from ganaudit.scores import mccs as mccs
    from ganaudit.scores import mccs_reference_code as mccs_reference_code
    from ganaudit.training.runs import Training as Training
    from ganaudit.training.runs import train as train

_HOMES = {
    "Audit": "pipeline",
    "CalibrateConfig": "config",
    "Calibration": "calibrating",
    "calibrate": "calibrating",
    "DiagnoseConfig": "config",
    "diagnose": "pipeline",
    "mccs": "scores",
    "mccs_reference_code": "scores",
    "train": "training.runs",
    "TrainConfig": "config",
    "Training": "training.runs",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ganaudit' has no attribute {name!r}")
    return getattr(import_module(f"ganaudit.{_HOMES[name]}"), name)
