"""What runners/python/openvino_runner.py uses of OpenVINO, for a model that is the identity: output yN is input xN. It shows that
the runner speaks the protocol, not that it calls the real package rightly."""

__version__ = "0.0.stub"


class PartialShape:
    def __init__(self, sizes):
        self.sizes = sizes


class Tensor:
    def __init__(self, data):
        self.data = data


class Port:
    def __init__(self, *names):
        self.names = set(names)

    def get_names(self):
        return self.names

    def get_any_name(self):
        return sorted(self.names)[0]

    def get_partial_shape(self):
        return "[?]"


class Request:
    def __init__(self):
        self.given = {}

    def set_tensor(self, port, tensor):
        self.given[port.get_any_name()] = tensor

    def infer(self):
        self.results = [self.given["x" + port.get_any_name()[1:]] for port in Model.outputs]

    def get_output_tensor(self, index):
        return self.results[index]


class Model:
    inputs = [Port("x" + n) for n in "abcd"]
    outputs = [Port("y" + n) for n in "abcd"]

    def reshape(self, shapes):
        assert [p.sizes for p in shapes.values()] == [[2, 3]] * 4

    def create_infer_request(self):
        return Request()


class Core:
    def read_model(self, path):
        return Model()

    def compile_model(self, model, device, config):
        assert device == "CPU" and config["INFERENCE_NUM_THREADS"] >= 1
        return model
