"""Calibrators: what thins a collapsed mode without touching the model.

    from ganaudit.calibration import load
    latents = load("calibrator.json").sample(16, seed=0)

A method is fitted by the file of its name (gmm, importance, rejection, advlatgan_z); what it gives
is one of three types: a `LatentSampler` (latents), an `OutputFilter` (filters) or a `LatentRefiner`
(refining). `artefact` reads and writes all of them. Reading one and drawing latents import neither
torch nor scikit-learn.
"""

from ganaudit.calibration.artefact import Artefact as Artefact
from ganaudit.calibration.artefact import load as load
from ganaudit.calibration.artefact import save as save
