"""What Triton's HTTP client makes of `ganaudit serve`; runs in the client's environment.

`python triton_script.py HOST:PORT FOLDER` takes latents [N, D] from FOLDER/latents.npy, and writes
the images of these latents and of the seeds 0 to N - 1, in every form, and the metadata.
"""

import json
import sys
from itertools import product
from pathlib import Path

import numpy as np
from tritonclient import http

ADDRESS, FOLDER = sys.argv[1], Path(sys.argv[2])


def main() -> None:
    latents = np.load(FOLDER / "latents.npy")
    sent = {
        "latent": (latents, "FP32"),
        "seed": (np.arange(len(latents)), "INT64"),
    }
    with http.InferenceServerClient(ADDRESS, connection_timeout=10, network_timeout=10) as client:
        said = {
            "live": client.is_server_live(),
            "ready": client.is_server_ready(),
            "model_ready": client.is_model_ready("generator"),
            "version_ready": client.is_model_ready("generator", "1"),
            "other_ready": client.is_model_ready("other"),
            "server": client.get_server_metadata(),
            "model": client.get_model_metadata("generator"),
        }
        for (name, (values, datatype)), as_bytes, to_bytes in product(
            sent.items(), (False, True), (False, True)
        ):
            given = http.InferInput(name, list(values.shape), datatype)
            given.set_data_from_numpy(values, binary_data=as_bytes)
            wanted = http.InferRequestedOutput("image", binary_data=to_bytes)
            answer = client.infer("generator", [given], outputs=[wanted], request_id="seven")
            assert answer.get_response()["id"] == "seven"
            np.save(FOLDER / f"{name}-{as_bytes}-{to_bytes}.npy", answer.as_numpy("image"))
        given = http.InferInput("seed", [1], "INT64")
        given.set_data_from_numpy(np.array([0]))
        wanted = http.InferRequestedOutput("png")
        (png,) = client.infer("generator", [given], outputs=[wanted]).as_numpy("png")
        (FOLDER / "0.png").write_bytes(png)
        given = http.InferInput("seed", [1], "INT64")
        given.set_data_from_numpy(np.array([-1]))
        try:
            client.infer("generator", [given])
        except http.InferenceServerException as error:
            said["refused"] = [error.status(), error.message()]
    (FOLDER / "said.json").write_text(json.dumps(said))


if __name__ == "__main__":
    main()
