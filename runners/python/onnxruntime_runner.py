"""ONNX Runtime's Python package as a runner of Tenon."""

import onnxruntime

from protocol import Failure, serve
from values import from_python, to_python

_LEVELS = ["ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL"]
_KINDS = {"NotImplemented": "unsupported", "InvalidGraph": "invalid_model", "InvalidProtobuf": "invalid_model", "NoSuchFile": "not_found",
          "InvalidArgument": "invalid_argument"}


def _port(argument):
    return {"name": argument.name, "type": argument.type, "shape": [d if d is not None else "?" for d in argument.shape or []]}


def _translated(call, *arguments):
    try:
        return call(*arguments)
    except Exception as error:
        raise Failure(_KINDS.get(type(error).__name__, "internal"), str(error)) from error


class Runtime:
    name = "ONNX Runtime (Python)"
    version = onnxruntime.__version__

    def load(self, model, threads, optimization, dims, shapes):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, _LEVELS[optimization])
        options.log_severity_level = 3
        for name, size in dims.items():
            options.add_free_dimension_override_by_name(name, size)
        self.session = _translated(lambda: onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"]))
        inputs, outputs = self.session.get_inputs(), self.session.get_outputs()
        # An output may be listed twice.
        self.output_names = list(dict.fromkeys(o.name for o in outputs))
        self.feeds = {}
        return [_port(i) for i in inputs], [_port(o) for o in outputs]

    def bind(self, inputs, payloads):
        self.feeds = {i["name"]: to_python(i["value"], payloads) for i in inputs}

    def execute(self):
        return _translated(self.session.run, self.output_names, self.feeds)

    def outputs(self, results, payloads):
        return [{"name": name, "value": from_python(value, payloads)} for name, value in zip(self.output_names, results)]


if __name__ == "__main__":
    serve(Runtime())
