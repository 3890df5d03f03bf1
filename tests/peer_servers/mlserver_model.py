"""A generator in ONNX behind MLServer; runs in MLServer's environment.

`python mlserver_model.py FOLDER`, with settings.json and model-settings.json in FOLDER as `mlserver
start FOLDER` wants them.
"""

import sys
from pathlib import Path

import onnxruntime
from mlserver import MLModel
from mlserver.cli.main import main
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse, MetadataTensor

DATATYPES = {
    "tensor(float)": "FP32",
    "tensor(uint8)": "UINT8",
    "tensor(int64)": "INT64",
}


class Generator(MLModel):
    """Whatever goes into the file and comes out of it."""

    async def load(self) -> bool:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            self.settings.parameters.uri, options, providers=["CPUExecutionProvider"]
        )
        self.inputs = [described(port) for port in self._session.get_inputs()]
        self.outputs = [described(port) for port in self._session.get_outputs()]
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        fed = {each.name: NumpyCodec.decode_input(each) for each in payload.inputs}
        names = [port.name for port in self.outputs]
        made = self._session.run(names, fed)
        return InferenceResponse(
            id=payload.id,
            model_name=self.name,
            outputs=[NumpyCodec.encode_output(*pair) for pair in zip(names, made, strict=True)],
        )


def described(port: onnxruntime.NodeArg) -> MetadataTensor:
    shape = [side if isinstance(side, int) else -1 for side in port.shape]
    return MetadataTensor(name=port.name, datatype=DATATYPES[port.type], shape=shape)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))  # where model-settings.json finds this module
    sys.argv = ["mlserver", "start", sys.argv[1]]
    main()
