"""ganaudit: audits image generators as black boxes for intra-mode collapse.

    from ganaudit import DiagnoseConfig, diagnose
    audit = diagnose(DiagnoseConfig(generator="demo:collapsed"))

Names are imported when first used, so that the command line answers at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ganaudit.config import DiagnoseConfig as DiagnoseConfig
    from ganaudit.diagnosis import mccs as mccs
    from ganaudit.diagnosis import mccs_reference_code as mccs_reference_code
    from ganaudit.pipeline import Audit as Audit
    from ganaudit.pipeline import diagnose as diagnose

_HOMES = {
    "Audit": "pipeline",
    "DiagnoseConfig": "config",
    "diagnose": "pipeline",
    "mccs": "diagnosis",
    "mccs_reference_code": "diagnosis",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ganaudit' has no attribute {name!r}")
    return getattr(import_module(f"ganaudit.{_HOMES[name]}"), name)
