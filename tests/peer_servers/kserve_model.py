"""A generator in ONNX behind KServe; runs in KServe's environment.

`python kserve_model.py NAME FILE.onnx` prints its address.
"""

import socket
import sys

import kserve
import onnxruntime
from kserve import InferOutput, InferRequest, InferResponse
from kserve.constants.constants import FASTAPI_APP_IMPORT_STRING
from kserve.protocol.rest.server import RESTServer

DATATYPES = {
    "tensor(float)": "FP32",
    "tensor(uint8)": "UINT8",
    "tensor(int64)": "INT64",
}


class Generator(kserve.Model):
    """Whatever goes into the file and comes out of it."""

    def __init__(self, name: str, path: str) -> None:
        super().__init__(name)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
        self.ready = True

    async def get_input_types(self) -> list[dict[str, object]]:
        return [described(port) for port in self._session.get_inputs()]

    async def get_output_types(self) -> list[dict[str, object]]:
        return [described(port) for port in self._session.get_outputs()]

    def predict(
        self,
        payload: InferRequest,
        headers: dict[str, str] | None = None,
        response_headers: dict[str, str] | None = None,
    ) -> InferResponse:
        made = self._session.run(None, {each.name: each.as_numpy() for each in payload.inputs})
        outputs = []
        for port, values in zip(self._session.get_outputs(), made, strict=True):
            output = InferOutput(port.name, list(values.shape), DATATYPES[port.type])
            output.set_data_from_numpy(values, binary_data=True)
            outputs.append(output)
        return InferResponse(
            response_id=payload.id,  # KServe itself refuses an answer in JSON without one
            model_name=self.name,
            infer_outputs=outputs,
            use_binary_outputs=payload.use_binary_outputs,
            requested_outputs=payload.request_outputs,
        )


def described(port: onnxruntime.NodeArg) -> dict[str, object]:
    shape = [side if isinstance(side, int) else -1 for side in port.shape]
    return {"name": port.name, "datatype": DATATYPES[port.type], "shape": shape}


if __name__ == "__main__":
    _, name, path = sys.argv
    sys.argv[1:] = []  # KServe reads them as well
    server = kserve.ModelServer(enable_grpc=False)
    server.register_model(Generator(name, path))
    with socket.create_server(("127.0.0.1", 0)) as listener:  # its own `start` listens everywhere
        print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        rest = RESTServer(
            FASTAPI_APP_IMPORT_STRING,
            server.dataplane,
            server.model_repository_extension,
            http_port=0,
        )
        rest.run([listener])
