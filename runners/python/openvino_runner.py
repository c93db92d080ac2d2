"""OpenVINO's Python package as a runner of Tenon: the CPU device, tuned for latency, inference in the model's own precision."""

import openvino

from protocol import Failure, serve
from values import from_array, to_array


def _port(port, index):
    names = sorted(port.get_names())
    return {"name": port.get_any_name() if names else f"{index}", "shape": str(port.get_partial_shape())}


class Runtime:
    name = "OpenVINO"
    version = openvino.__version__

    def load(self, model, threads, optimization, dims, shapes):
        core = openvino.Core()
        network = core.read_model(model)
        # Its reader of ONNX drops the names of dims, so sizes come by input.
        fixed = {}
        for port in network.inputs:
            sizes = next((shapes[name] for name in sorted(port.get_names()) if name in shapes), None)
            if dims and sizes is not None:
                fixed[port] = openvino.PartialShape([-1 if size is None else size for size in sizes])
        if fixed:
            network.reshape(fixed)
        # Without f32 inference precision, OpenVINO computes in bfloat16 where the processor has it.
        config = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
        self.compiled = core.compile_model(network, "CPU", config)
        self.request = self.compiled.create_infer_request()
        self.output_names = [sorted(port.get_names()) for port in self.compiled.outputs]
        inputs = [{**_port(port, i), "name": name} for i, port in enumerate(self.compiled.inputs) for name in sorted(port.get_names())]
        outputs = [{**_port(port, i), "name": name} for i, port in enumerate(self.compiled.outputs) for name in self.output_names[i]]
        return inputs, outputs

    def bind(self, inputs, payloads):
        feeds = {}
        for one in inputs:
            if one["value"] is None or "payload" not in one["value"]:
                raise Failure("unsupported", f"input {one['name']}: OpenVINO takes tensors only")
            feeds[one["name"]] = to_array(one["value"], payloads)
        for port in self.compiled.inputs:
            for name in port.get_names():
                if name in feeds:
                    self.request.set_tensor(port, openvino.Tensor(feeds[name].copy()))

    def execute(self):
        self.request.infer()

    def outputs(self, results, payloads):
        out = []
        for i, names in enumerate(self.output_names):
            value = from_array(self.request.get_output_tensor(i).data, payloads)
            # One tensor may have several names.
            out.extend({"name": name, "value": value} for name in names)
        return out


if __name__ == "__main__":
    serve(Runtime())
