"""The protocol of docs/runners.md: frames over descriptors 3 and 4, and the loop that answers requests. Needs Python alone."""

import json
import os
import struct
import sys
import time

MAGIC, VERSION = b"TNRP", 1
_START = struct.Struct("<4sIII")
_KINDS = {"invalid_argument", "invalid_model", "not_found", "unsupported", "out_of_range", "resource_exhausted", "internal"}


class Failure(Exception):
    """An answer that says what cannot be done: kind is one of _KINDS."""

    def __init__(self, kind, message):
        super().__init__(message)
        self.kind = kind


class Connection:
    def __init__(self, requests=3, answers=4):
        self._requests = os.fdopen(requests, "rb")
        self._answers = os.fdopen(answers, "wb")

    def _read(self, size):
        data = bytearray(size)
        view = memoryview(data)
        while len(view) > 0:
            n = self._requests.readinto(view)
            if not n:
                raise EOFError
            view = view[n:]
        return data

    def receive(self):
        """(header, payloads as bytearrays); EOFError at the end of the requests."""
        magic, version, header, count = _START.unpack(self._read(_START.size))
        if magic != MAGIC or version != VERSION:
            raise EOFError
        sizes = struct.unpack(f"<{count}Q", self._read(8 * count))
        text = self._read(header)
        return json.loads(text), [self._read(size) for size in sizes]

    def send(self, header, payloads=()):
        """Payloads: bytes-like, or arrays without gaps."""
        views = [memoryview(p).cast("B") if memoryview(p).nbytes else b"" for p in payloads]
        text = json.dumps(header).encode()
        self._answers.write(_START.pack(MAGIC, VERSION, len(text), len(views)) + struct.pack(f"<{len(views)}Q", *map(len, views)) + text)
        for view in views:
            self._answers.write(view)
        self._answers.flush()


def pack_strings(values):
    return b"".join(struct.pack("<I", len(v)) + v for v in values)


def unpack_strings(data):
    out, at = [], 0
    while at < len(data):
        (size,) = struct.unpack_from("<I", data, at)
        out.append(bytes(data[at + 4 : at + 4 + size]))
        at += 4 + size
    return out


def peak_rss_bytes():
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    return 0


def time_runs(run, runs, ms):
    """Milliseconds of each call until there are `runs` of them and `ms` milliseconds have passed."""
    samples = []
    start = end = time.perf_counter()
    while len(samples) < runs or (end - start) * 1e3 < ms:
        begin = time.perf_counter()
        run()
        end = time.perf_counter()
        samples.append((end - begin) * 1e3)
    return samples


def settle():
    """Waits until the runtime's threads, which may spin for a while after a run, sleep: others are measured next."""
    for _ in range(50):
        before = time.process_time()
        time.sleep(0.005)
        if time.process_time() - before < 0.001:
            return


def serve(runtime):
    """Answers requests with the methods of `runtime` until they end:

    name, version                        strings
    load(model, threads, optimization, dims, shapes)  -> (inputs, outputs), lists of {"name": ..., ...}
    bind(inputs, payloads)               keeps the inputs: a list of {"name", "value"}
    execute()                            one run, results kept as they are
    outputs(results, payloads)           -> a list of {"name", "value"}, bytes appended to payloads
    """
    connection = Connection()

    def hello():
        return {"runtime": runtime.name, "version": runtime.version}, ()

    def load(model, threads, optimization, dims, shapes, temporary=False):
        start = time.perf_counter()
        inputs, outputs = runtime.load(model, threads, optimization, dims, shapes)
        return {"load_ms": (time.perf_counter() - start) * 1e3, "inputs": inputs, "outputs": outputs}, ()

    def run():
        start = time.perf_counter()
        results = runtime.execute()
        ms = (time.perf_counter() - start) * 1e3
        payloads = []
        return {"ms": ms, "outputs": runtime.outputs(results, payloads)}, payloads

    def timed(runs, ms):
        samples = time_runs(runtime.execute, runs, ms)
        settle()
        return {}, [struct.pack(f"<{len(samples)}d", *samples)]

    def figures():
        return {"peak_rss_bytes": peak_rss_bytes()}, ()

    operations = {"hello": hello, "load": load, "run": run, "time": timed, "figures": figures}
    while True:
        try:
            header, payloads = connection.receive()
        except EOFError:
            return
        op = header.pop("op", None)
        if op == "exit":
            return
        try:
            if op == "bind":
                runtime.bind(header["inputs"], payloads)
                reply = {}, ()
            elif op in operations:
                reply = operations[op](**header)
            else:
                raise Failure("unsupported", f"there is no operation {op}")
        except Exception as error:  # whatever a runtime raises is an answer
            kind = getattr(error, "kind", None)
            reply = {"error": {"kind": kind if kind in _KINDS else "internal", "message": str(error) or type(error).__name__}}, ()
        try:
            connection.send(*reply)
        except BrokenPipeError:
            sys.exit(0)
