#!/usr/bin/env python3
"""What PyTorch and ONNX Runtime take for the rows of bench/gpu.py on the same machine, where they are installed: a JSON line for each.

    gpu_peers.py kernels [--small]     {"row": NAME, "ms": …} by torch's own functions, the device's time
    gpu_peers.py networks [--small]    {"row": NAME, "precision": …, "peer": …, "ms": …}, a run from the host's side

Without a GPU that PyTorch sees nothing is measured, but with --small, whose sizes its CPU takes as well.
"""
import argparse
import contextlib
import json
import os
import pathlib
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import gpu_models  # noqa: E402
from gpu import kernel_rows  # noqa: E402

REPEATS = 20


def say(**line):
    print(json.dumps(line), flush=True)


def said(error):
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"[:120].replace("|", "/")


def median(values):
    values = sorted(values)
    return values[len(values) // 2]


class Torch:
    def __init__(self, small):
        import torch
        self.torch = torch
        self.device = "cuda" if torch.cuda.is_available() else "cpu" if small else None
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False  # TF32 is not fp32
        torch.backends.cudnn.benchmark = True

    def name(self):
        return f"PyTorch {self.torch.__version__}, " + (self.torch.cuda.get_device_name() if self.device == "cuda" else "CPU")

    def dtype(self, name):
        return {"f32": self.torch.float32, "f16": self.torch.float16, "i64": self.torch.int64}[name]

    def wait(self):
        if self.device == "cuda":
            self.torch.cuda.synchronize()

    def device_ms(self, run):
        """Between two events of the device, which the host keeps supplied; on a CPU by the clock."""
        for _ in range(3):
            run()
        self.wait()
        if self.device != "cuda":
            return self.run_ms(run)
        events = [self.torch.cuda.Event(enable_timing=True) for _ in range(REPEATS + 1)]
        events[0].record()
        for event in events[1:]:
            run()
            event.record()
        self.wait()
        return median([a.elapsed_time(b) for a, b in zip(events, events[1:])])

    def run_ms(self, run):
        times = []
        for _ in range(REPEATS + 3):
            start = time.perf_counter()
            run()
            self.wait()
            times.append((time.perf_counter() - start) * 1e3)
        return median(times[3:])

    def random(self, dtype, shape, limit=0):
        if dtype == "i64":
            return self.torch.randint(0, limit, shape, device=self.device)
        return self.torch.randn(shape, device=self.device).to(self.dtype(dtype))

    def functions(self):
        f = self.torch.nn.functional
        return {
            "neg": lambda x: -x,
            "add": lambda a, b: a + b,
            "softmax": lambda x: f.softmax(x, -1),
            "layer_norm": lambda x, s, b: f.layer_norm(x, s.shape, s, b),
            "sum": lambda x: x.sum(1),
            "transpose": lambda x: x.t().contiguous(),
            "gather": lambda x, i: self.torch.index_select(x, 0, i),
            "matmul": lambda a, b: a @ b,
            "conv": lambda x, w: f.conv2d(x, w, padding=w.shape[-1] // 2),
            "attention": getattr(f, "scaled_dot_product_attention", None),
        }


class Eager(gpu_models.Model):
    """The nodes of a network, one by one, by torch's functions."""

    torch = None  # a Torch

    def __init__(self, name):
        super().__init__(name)
        self.values, self.steps = {}, []

    def keep(self, value):
        name = self.fresh()
        self.values[name] = value
        return name

    def input(self, name, dtype, shape):
        self.values[name] = self.torch.random("i64" if dtype == gpu_models.INT64 else "f32", shape, 100)
        return name

    def output(self, value, dtype, shape):
        self.outputs.append(value)

    def weight(self, *shape, scale=0.02, offset=0.0):
        return self.keep(self.torch.random("f32", shape) * scale + offset)

    def integers(self, *values):
        return self.keep(list(values))

    def scalar(self, value):
        return self.keep(value)

    def op(self, kind, *inputs, outputs=1, **attributes):
        self.steps.append((kind, inputs, self.fresh(), attributes))
        return self.steps[-1][2]

    def to(self, dtype):
        for name, value in self.values.items():
            if self.torch.torch.is_tensor(value) and value.is_floating_point():
                self.values[name] = value.to(dtype)

    def run(self):
        values = dict(self.values)
        for kind, inputs, result, attributes in self.steps:
            values[result] = getattr(self, kind)(*(values[i] for i in inputs), **attributes)
        return [values[o] for o in self.outputs]

    def __getattr__(self, kind):
        torch = self.torch.torch
        f = torch.nn.functional
        plain = {
            "MatMul": torch.matmul, "Add": torch.add, "Mul": torch.mul, "Relu": torch.relu, "Gelu": f.gelu,
            "Gather": lambda x, i: x[i], "Gemm": lambda x, w, b: torch.addmm(b, x, w), "Reshape": lambda x, dims: x.reshape(dims),
            "Transpose": lambda x, perm: x.permute(perm), "Softmax": lambda x, axis: f.softmax(x, axis), "Concat": lambda *x, axis: torch.cat(x, axis),
            "LayerNormalization": lambda x, s, b, axis, epsilon: f.layer_norm(x, s.shape, s, b, epsilon),
            "Conv": lambda x, w, b, kernel_shape, strides, pads: f.conv2d(x, w, b, strides, pads[0]),
            "MaxPool": lambda x, kernel_shape, strides, pads: f.max_pool2d(x, kernel_shape, strides, pads[0]),
            "GlobalAveragePool": lambda x: x.mean((2, 3), keepdim=True), "Flatten": lambda x, axis: x.flatten(axis),
        }
        if kind not in plain:
            raise AttributeError(kind)
        return plain[kind]


def kernels(torch, small):
    functions = torch.functions()
    for work, _, _, _, _, _, peer in kernel_rows(small):
        if peer is None:
            continue
        name, *inputs = peer
        if functions[name] is None:
            continue
        try:
            tensors = [torch.random(dtype, shape, *limit) for dtype, shape, *limit in inputs]
            say(row=work, ms=torch.device_ms(lambda: functions[name](*tensors)))
        except (RuntimeError, MemoryError) as error:
            say(row=work, error=said(error))


def networks(torch, small):
    Eager.torch = torch
    for name, make in gpu_models.NETWORKS.items():
        for precision in ("f32", "f16"):
            try:
                model = make(small, Eager)
                model.to(torch.dtype(precision))
                say(row=name, precision=precision, peer="PyTorch", ms=torch.run_ms(model.run))
            except (RuntimeError, MemoryError) as error:
                say(row=name, precision=precision, peer="PyTorch", error=said(error))


def onnxruntime_networks(small):
    import numpy
    import onnxruntime
    gpu = [p for p in ("CUDAExecutionProvider",) if p in onnxruntime.get_available_providers()]
    say(name=f"ONNX Runtime {onnxruntime.__version__}, " + (gpu + ["CPUExecutionProvider"])[0])
    generator = numpy.random.default_rng(1)
    for name, make in gpu_models.NETWORKS.items():
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "model.onnx")
            make(small).write(path)
            try:
                session = onnxruntime.InferenceSession(path, providers=gpu + ["CPUExecutionProvider"])
                device = "cuda" if session.get_providers()[0] in gpu else "cpu"
                binding = session.io_binding()
                for i in session.get_inputs():
                    value = generator.integers(0, 100, i.shape) if "int64" in i.type else generator.standard_normal(i.shape, numpy.float32)
                    binding.bind_ortvalue_input(i.name, onnxruntime.OrtValue.ortvalue_from_numpy(value, device, 0))
                for o in session.get_outputs():
                    binding.bind_output(o.name, device)
                times = []
                for _ in range(REPEATS + 3):
                    start = time.perf_counter()
                    session.run_with_iobinding(binding)
                    times.append((time.perf_counter() - start) * 1e3)
                say(row=name, precision="f32", peer="ONNX Runtime", ms=median(times[3:]))
            except Exception as error:  # noqa: BLE001: its exceptions have no common class
                say(row=name, precision="f32", peer="ONNX Runtime", error=said(error))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=["kernels", "networks"])
    parser.add_argument("--small", action="store_true", help="sizes for software devices")
    arguments = parser.parse_args()
    with contextlib.suppress(ImportError):
        torch = Torch(arguments.small)
        if torch.device is not None:
            say(name=torch.name())
            with torch.torch.no_grad():
                (kernels if arguments.table == "kernels" else networks)(torch, arguments.small)
    if arguments.table == "networks":
        with contextlib.suppress(ImportError):
            onnxruntime_networks(arguments.small)


if __name__ == "__main__":
    main()
