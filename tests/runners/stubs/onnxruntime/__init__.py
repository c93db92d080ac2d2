"""What runners/python/onnxruntime_runner.py uses of ONNX Runtime's Python package, for a model that is the identity: output yN is
input xN. It shows that the runner speaks the protocol, not that it calls the real package rightly."""
from enum import Enum
from types import SimpleNamespace

__version__ = "0.0.stub"
ExecutionMode = Enum("ExecutionMode", "ORT_SEQUENTIAL ORT_PARALLEL")
GraphOptimizationLevel = Enum("GraphOptimizationLevel", "ORT_DISABLE_ALL ORT_ENABLE_BASIC ORT_ENABLE_EXTENDED ORT_ENABLE_ALL")


class NotImplemented(Exception):
    pass


class SessionOptions:
    def __init__(self):
        self.dims = {}

    def add_free_dimension_override_by_name(self, name, size):
        self.dims[name] = size


class InferenceSession:
    def __init__(self, model, options, providers):
        if options.dims.get("refuse"):
            raise NotImplemented("NOT_IMPLEMENTED : no such op")
        assert options.intra_op_num_threads >= 1 and options.graph_optimization_level is GraphOptimizationLevel.ORT_ENABLE_ALL
        self.names = ["a", "b", "c", "d"]

    def get_inputs(self):
        return [SimpleNamespace(name="x" + n, type="tensor", shape=[None, 3]) for n in self.names]

    def get_outputs(self):
        return [SimpleNamespace(name="y" + n, type="tensor", shape=None) for n in self.names + self.names[:1]]

    def run(self, names, feeds):
        return [feeds["x" + n[1:]] for n in names]
