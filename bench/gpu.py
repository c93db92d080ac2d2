#!/usr/bin/env python3
"""Measures the Vulkan backend of this machine's GPU and prints a table beside the goals; bench/gpu.sh builds what it needs and calls it.

Kernels are measured by the device's own timestamps (tenon profile): inputs and outputs are no part of a figure. A row that fails or takes too
long says so and the table goes on. GB/s and TFLOP/s come from the sizes alone: bytes that must move, and multiply-adds counted as two.
"""
import argparse
import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import gpu_models  # noqa: E402


def graph(name, inputs, lines, output):
    return "\n".join([f'graph "{name}" {{'] + [f"  input %{i}" for i in inputs] + [f"  {line}" for line in lines] + [f"  output %{output} }}"])


def unary(name, op, shape, out_shape, attributes=""):
    return graph(name, [f"x: f32{shape}"], [f"%y: f32{out_shape} = {op}(%x) {attributes}"], "y")


def matmul(name, dtype, m, k, n):
    return graph(name, [f"a: {dtype}[{m}, {k}]", f"b: {dtype}[{k}, {n}]"], [f"%y: {dtype}[{m}, {n}] = MatMul(%a, %b)"], "y")


def chain(length):
    """Dispatches that do next to nothing, each waiting for the one before."""
    lines = ["%axis: i64[] = Constant {value = dense<i64[], 0>}", "%a0: f32[64] = CumSum(%x, %axis)"]
    return graph("chain", ["x: f32[64]"], lines + [f"%a{i}: f32[64] = CumSum(%a{i - 1}, %axis)" for i in range(1, length)], f"a{length - 1}")


def kernel_rows(small):
    """(work, model, amount, unit, first goal, target, peer): `amount` of bytes or of operations a run; `peer`: a function of gpu_peers.py and
    the inputs that it takes, as dtype, shape and, of integers, a limit."""
    s = 1024 if small else 1
    elements, rows, columns = 2**26 // s, max(2**14 // s, 64), 4096 // (8 if small else 1)
    tokens, words = max(8192 // s, 64), max(32768 // s, 64)
    k = 16384 // (64 if small else 1)
    bandwidth = elements * 4 * 2
    matrix = rows * columns * 4
    x = ("f32", [rows, columns])
    gather = graph("gather", [f"x: f32[{words}, {columns}]", f"i: i64[{tokens}]"], [f"%y: f32[{tokens}, {columns}] = Gather(%x, %i) {{axis = 0}}"], "y")
    norm = graph("norm", [f"x: f32[{rows}, {columns}]", f"s: f32[{columns}]", f"b: f32[{columns}]"],
                 [f"%y: f32[{rows}, {columns}] = LayerNormalization(%x, %s, %b) {{axis = -1}}"], "y")
    row_sums = graph("sum", [f"x: f32[{rows}, {columns}]"],
                     ["%axes: i64[1] = Constant {value = dense<i64[1], 1>}", f"%y: f32[{rows}] = ReduceSum(%x, %axes) {{keepdims = 0}}"], "y")
    quantised = graph("int4", [f"x: f16[1, {k}]", f"w: u8[{k}, {k // 32}, 16]", f"s: f16[{k}, {k // 32}]"],
                      [f"%y: f16[1, {k}] = com.microsoft.MatMulNBits(%x, %w, %s) {{K = {k}, N = {k}, bits = 4, block_size = 32}}"], "y")
    out = [
        (f"elementwise, {4 * elements / 2**20:g} MiB", unary("neg", "Neg", [elements], [elements]), bandwidth, "GB/s", "80 % of 4300", "92 %",
         ("neg", ("f32", [elements]))),
        (f"add of two, {4 * elements / 2**20:g} MiB each",
         graph("add", [f"a: f32[{elements}]", f"b: f32[{elements}]"], [f"%y: f32[{elements}] = Add(%a, %b)"], "y"), elements * 12, "GB/s", "80 % of 4300", "92 %",
         ("add", ("f32", [elements]), ("f32", [elements]))),
        (f"softmax {rows} x {columns}", unary("softmax", "Softmax", [rows, columns], [rows, columns], "{axis = -1}"), 2 * matrix, "GB/s", "70 %", "85 %", ("softmax", x)),
        (f"layer norm {rows} x {columns}", norm, 2 * matrix, "GB/s", "70 %", "85 %", ("layer_norm", x, ("f32", [columns]), ("f32", [columns]))),
        (f"sum of rows {rows} x {columns}", row_sums, matrix, "GB/s", "70 %", "85 %", ("sum", x)),
        (f"transpose {rows} x {columns}", unary("transpose", "Transpose", [rows, columns], [columns, rows], "{perm = [1, 0]}"), 2 * matrix, "GB/s", "55 %", "75 %", ("transpose", x)),
        (f"gather of {tokens} rows of {columns}", gather, 2 * tokens * columns * 4, "GB/s", "55 %", "75 %",
         ("gather", ("f32", [words, columns]), ("i64", [tokens], words))),
        (f"matrix-vector f16 {k}", matmul("matvec", "f16", 1, k, k), 2 * k * k, "GB/s", "80 %", "92 %", ("matmul", ("f16", [1, k]), ("f16", [k, k]))),
        (f"matrix-vector int4 {k}", quantised, k * k // 2 + k * k // 16, "GB/s", "65 %", "80 %", None),
    ]
    for dtype, size, first, target in (("f32", 4096, "33.5", "46"), ("f32", 8192, "33.5", "46"), ("f16", 4096, "", ""), ("f16", 8192, "250", "450")):
        n = size // (64 if small else 1)
        out.append((f"GEMM {dtype} {n}", matmul("gemm", dtype, n, n, n), 2 * n**3, "TFLOP/s", first, target, ("matmul", (dtype, [n, n]), (dtype, [n, n]))))
    batch, channels = (1, 8) if small else (32, 256)
    conv = graph("conv", [f"x: f16[{batch}, {channels}, 56, 56]", f"w: f16[{channels}, {channels}, 3, 3]"],
                 [f"%y: f16[{batch}, {channels}, 56, 56] = Conv(%x, %w) {{pads = [1, 1, 1, 1], kernel_shape = [3, 3]}}"], "y")
    out.append((f"convolution f16 3x3, {channels} channels", conv, 2 * batch * 56 * 56 * channels**2 * 9, "TFLOP/s", "50 % of GEMM", "75 %",
                ("conv", ("f16", [batch, channels, 56, 56]), ("f16", [channels, channels, 3, 3]))))
    length, heads, size = (64, 2, 64) if small else (4096, 16, 128)
    shape = f"f16[1, {heads}, {length}, {size}]"
    attention = graph("attention", [f"{x}: {shape}" for x in "qkv"], [f"%y: {shape} = Attention(%q, %k, %v)"], "y")
    out.append((f"attention f16, {heads} heads, {length} x {size}", attention, 4 * heads * length**2 * size, "TFLOP/s", "120", "250",
                ("attention", *[("f16", [1, heads, length, size])] * 3)))
    return out


class Failure(Exception):
    pass


class Bench:
    def __init__(self, arguments, folder):
        self.o, self.folder = arguments, pathlib.Path(folder)
        self.lines = []
        self.end = time.monotonic() + arguments.limit

    def say(self, line):
        print(line, flush=True)
        self.lines.append(line)

    def row(self, *cells):
        self.say("| " + " | ".join(str(c) for c in cells) + " |")

    def head(self, *cells):
        self.say("")
        self.row(*cells)
        self.say("|" + "---|" * len(cells))

    def tenon(self, *arguments, patience=1):
        """Runs the command; its error's first line is the Failure."""
        device = ["--device", self.o.device] if self.o.device and arguments[0] not in ("--version",) and arguments != ("devices",) else []
        seconds = min(self.o.timeout * patience, self.end - time.monotonic())
        if seconds <= 0:
            raise Failure("not begun: the time is up (--limit)")
        try:
            done = subprocess.Popen([self.o.tenon, *map(str, arguments), *device], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
                                    start_new_session=True)
        except OSError as error:
            raise Failure(str(error)) from None
        try:
            done.stdout, done.stderr = done.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise Failure("cut off: the time is up (--limit)" if seconds < self.o.timeout * patience else f"took more than {seconds:.0f} s") from None
        finally:
            if done.returncode is None:
                os.killpg(done.pid, signal.SIGKILL)  # what it has started holds its pipes
                done.communicate()
        if done.returncode != 0:
            said = [line for line in done.stderr.splitlines() if line.strip()] or [f"ended with status {done.returncode}"]
            raise Failure(next((line for line in said if line.startswith("error:")), said[-1])[:200].replace("|", "/"), done.stdout)
        return done

    def json_of(self, *arguments):
        path = self.folder / "out.json"
        path.unlink(missing_ok=True)
        self.tenon(*arguments, "--json", path)
        return json.loads(path.read_text())

    def model(self, text):
        path = self.folder / "model.tir"
        path.write_text(text)
        return path

    def kernel_ms(self, model, *options):
        """Milliseconds of a run's kernels, and the steps that ran on the host, which are no part of it."""
        profile = self.json_of("profile", model, "--backend", "vulkan", *options)
        on_host = [k for k in profile["kernels"] if k["name"].startswith("host")]
        return sum(k["ms"] for k in profile["kernels"] if k not in on_host), len(on_host)

    def run_ms(self, model, *options):
        bench = self.json_of("bench", model, "--backend", "vulkan", "--rounds", 10, "--launches", 2, *options)
        return bench["results"][0]["latency_ms"]["p50"]

    def peers(self, table):
        """Lines of gpu_peers.py, as many as it gets done in the time; who they are is said."""
        seconds = min(self.o.timeout * 4, self.end - time.monotonic())
        if seconds <= 0:
            return []
        command = [sys.executable, pathlib.Path(__file__).parent / "gpu_peers.py", table] + (["--small"] if self.o.small else [])
        try:
            output = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=seconds).stdout
        except subprocess.TimeoutExpired as late:
            output = late.stdout or b""
        lines = []
        for line in output.decode(errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                lines.append(json.loads(line))
        names = [line["name"] for line in lines if "name" in line]
        self.say("\nBeside it: " + ("; ".join(names) if names else "neither PyTorch nor ONNX Runtime for this device is installed") + ".")
        return [line for line in lines if "row" in line]

    def kernels(self):
        peers = {line["row"]: line for line in self.peers("kernels")}
        self.head("work", "measured", "unit", "ms", "PyTorch", "first goal", "target")
        for work, text, amount, unit, first, target, _ in kernel_rows(self.o.small):
            def rate(ms):
                return f"{amount / (ms * (1e6 if unit == 'GB/s' else 1e9)):.4g}" if ms > 0 else "no time"
            peer = peers.get(work, {})
            beside = rate(peer["ms"]) if "ms" in peer else peer.get("error", "")
            try:
                ms, hosted = self.kernel_ms(self.model(text))
                self.row(work, "on the host" if hosted else rate(ms), unit, f"{ms:.4g}", beside, first, target)
            except (Failure, ValueError, KeyError, TypeError) as error:
                self.row(work, f"failed: {error.args[0] if error.args else error}", unit, "", beside, first, target)

    def submissions(self):
        self.head("work", "measured", "unit", "first goal", "target")
        more = 200
        try:
            one = self.run_ms(self.model(chain(1)))
            self.row("a run of one dispatch", f"{one * 1e3:.4g}", "us", "40", "20")
            many = self.run_ms(self.model(chain(1 + more)))
            self.row("one more dispatch", f"{(many - one) * 1e3 / more:.4g}", "us", "5", "3")
        except (Failure, ValueError, KeyError, IndexError) as error:
            self.row("runs of small dispatches", f"failed: {error.args[0] if error.args else error}", "us", "", "")

    def precisions(self):
        """(name, options): f16 where the command can compute in it."""
        out = [("f32", [])]
        try:
            if "--precision" in self.tenon("profile", "--help").stdout:
                out.append(("f16", ["--precision", "f16"]))
        except Failure:
            pass
        return out

    def networks(self):
        peers = {(line["row"], line["precision"], line["peer"]): line for line in self.peers("networks")}
        self.head("network", "precision", "kernels ms", "run ms", "steps on the host", "PyTorch eager, run ms", "ONNX Runtime, run ms")
        for name, make in gpu_models.NETWORKS.items():
            path = self.folder / f"{name}.onnx"
            make(self.o.small).write(path)
            for precision, options in self.precisions():
                cells = []
                for measure in (lambda: self.kernel_ms(path, *options), lambda: self.run_ms(path, *options)):
                    try:
                        cells.append(measure())
                    except (Failure, ValueError, KeyError, IndexError) as error:
                        cells.append(f"failed: {error.args[0] if error.args else error}")
                kernels, hosted = cells[0] if isinstance(cells[0], tuple) else (cells[0], "")
                self.row(name, precision, *(f"{c:.4g}" if isinstance(c, float) else c for c in (kernels, cells[1])), hosted,
                         *(f"{p['ms']:.4g}" if "ms" in p else p.get("error", "")
                           for p in (peers.get((name, precision, peer), {}) for peer in ("PyTorch", "ONNX Runtime"))))
            path.unlink()

    def refuse_software(self):
        """Full sizes take a software device hours, and where the GPU's driver lacks Vulkan it is all there is."""
        if self.o.small or self.o.device or os.environ.get("TENON_VULKAN_DEVICE"):
            return
        devices = self.json_of("devices")["devices"]
        if all(d["type"] == "software" for d in devices if d["usable"]):
            raise Failure("error: there is no GPU among the devices above: install its driver with Vulkan (for NVIDIA in a container, NVIDIA_DRIVER_CAPABILITIES=all), "
                          "choose a device with --device, or measure the software device with --small")

    def self_test(self):
        """Its last lines, whether it passed or not: figures of wrong results would be worth nothing."""
        try:
            self.tenon("devices", "--self-test", patience=10)
            self.say("self-test: passed")
        except Failure as error:
            self.say(f"self-test: FAILED ({error.args[0]}): figures below may be of wrong results")
            self.say("\n".join("    " + line for text in error.args[1:] for line in text.splitlines()))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", nargs="?", help="also write the tables to this file")
    parser.add_argument("--small", action="store_true", help="sizes for software devices")
    parser.add_argument("--timeout", type=float, help="seconds that one measurement may take (300; with --small 60)")
    parser.add_argument("--limit", type=float, help="seconds that all may take: what has not begun by then says so (7200; with --small 1800)")
    parser.add_argument("--tenon", default=os.environ.get("TENON", "build/release/bin/tenon"), help="the command")
    parser.add_argument("--device", default="", help="as tenon's")
    parser.add_argument("--only", choices=["kernels", "submissions", "networks"], help="one table alone")
    arguments = parser.parse_args()
    if arguments.timeout is None:
        arguments.timeout = 60 if arguments.small else 300
    if arguments.limit is None:
        arguments.limit = 1800 if arguments.small else 7200
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(arguments, folder)
        try:
            bench.say("# " + bench.tenon("--version").stdout.strip() + (", small sizes" if arguments.small else ""))
            bench.say("")
            bench.say("\n".join("    " + line for line in bench.tenon("devices").stdout.splitlines()))
            bench.say("")
            bench.refuse_software()
        except Failure as error:
            sys.exit(error.args[0] if error.args[0].startswith("error:") else f"error: {error.args[0]}")
        bench.self_test()
        for part in ("kernels", "submissions", "networks"):
            if arguments.only in (None, part):
                getattr(bench, part)()
        if arguments.out:
            pathlib.Path(arguments.out).write_text("\n".join(bench.lines) + "\n")


if __name__ == "__main__":
    main()
