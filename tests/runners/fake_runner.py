"""A runner that gives back its inputs, x as y; or misbehaves as its first argument says. Independent of runners/python."""
import json, os, signal, struct, subprocess, sys, time

mode = sys.argv[1] if len(sys.argv) > 1 else "echo"
extra = sys.argv[2] if len(sys.argv) > 2 else ""
inputs, payloads = [], []


def read(size):
    data = b""
    while len(data) < size:
        part = os.read(3, size - len(data))
        if not part:
            sys.exit(0)
        data += part
    return data


def write(data):
    while data:
        data = data[os.write(4, data):]


def frame(text, blobs=(), magic=b"TNRP", version=1, sizes=None, json_bytes=None, count=None):
    sizes = [len(b) for b in blobs] if sizes is None else sizes
    count = len(sizes) if count is None else count
    return (struct.pack("<4sIII", magic, version, len(text) if json_bytes is None else json_bytes, count)
            + struct.pack(f"<{len(sizes)}Q", *sizes) + text + b"".join(blobs))


def send(header, blobs=(), **lies):
    write(frame(json.dumps(header).encode(), blobs, **lies))


def output(dtype="f32", shape=(2,), payload=0, **more):
    return {"outputs": [{"name": "y", "value": {"dtype": dtype, "shape": list(shape), "payload": payload, **more}}]}


def nested(depth):
    value = {"dtype": "f32", "shape": [], "payload": 0}
    for _ in range(depth):
        value = {"sequence": [value], "dtype": "f32"}
    return {"outputs": [{"name": "y", "value": value}]}


def die_once():
    if os.path.exists(extra):
        return echo()
    open(extra, "w").close()
    sys.stderr.write("the first time is the last\n")
    sys.exit(3)


def die():
    sys.stderr.write("\x1b[31mfatal:\x1b[0m the abacus is broken\n")
    sys.stderr.flush()
    sys.exit(3)


def hang():
    time.sleep(1000)


def grow():
    block = bytearray(400 << 20)
    for i in range(0, len(block), 4096):
        block[i] = 1
    hang()


def chatter():
    for stream in (sys.stdout, sys.stderr):
        stream.write("noise " * 200000)
        stream.flush()
    echo()


def family():
    child = subprocess.Popen(["sleep", "1000"])
    with open(extra, "w") as file:
        file.write(f"{os.getpid()} {child.pid}")
    echo()


def echo():
    send({"ms": 1.0, "outputs": [{"name": "y" + i["name"][1:], "value": i["value"]} for i in inputs]}, payloads)


two = struct.pack("<2f", 1, 2)
TENSOR = {"dtype": "f32", "shape": [2], "payload": 0}
CONTAINERS = {
    "seq_strings": ({"sequence": [{"dtype": "string", "shape": [1], "payload": 0}], "dtype": "string"}, [struct.pack("<I", 3) + b"abc"]),
    "seq_lie": ({"sequence": [TENSOR], "dtype": "i64"}, [two]),
    "seq_mixed": ({"sequence": [TENSOR, {"dtype": "i64", "shape": [1], "payload": 0}], "dtype": "f32"}, [two]),
    "seq_null": ({"sequence": [None], "dtype": "f32"}, []),
    "seq_nest": ({"sequence": [{"sequence": [TENSOR], "dtype": "f32"}], "dtype": "f32"}, [two]),
    "seq_map": ({"sequence": [{"keys": ["a"], "values": [TENSOR]}], "dtype": "f32"}, [two]),
    "seq_shape": ({"sequence": [{**TENSOR, "shape": [2, 1]}], "dtype": "f32"}, [two]),
    "seq_f64": ({"sequence": [{"dtype": "f64", "shape": [2], "payload": 0}], "dtype": "f64"}, [struct.pack("<2d", 1, 2)]),
    "seq_empty": ({"sequence": [], "dtype": "string"}, []),
    "map_text": ({"keys": ["a"], "values": [TENSOR]}, [two]),
    "map_number": ({"keys": [3], "values": [TENSOR]}, [two]),
    "map_strings": ({"keys": [3], "values": [{"dtype": "string", "shape": [2], "payload": 0}]}, [struct.pack("<I", 3) + b"abc" + struct.pack("<I", 0)]),
    "map_empty": ({"keys": [], "values": []}, []),
}
AT_RUN = {
    "echo": echo, "die": die, "die_once": die_once, "hang": hang, "grow": grow, "chatter": chatter, "family": family,
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "garbage": lambda: write(b"\x00\xffHTTP/1.1 200 OK\r\n\r\n" * 3),
    "version": lambda: send(output(), [two], version=9),
    "huge_json": lambda: send(output(), [two], json_bytes=0xffffffff),
    "many_payloads": lambda: send(output(), [two], count=0xffffffff),
    "huge_payload": lambda: send(output(), [two], sizes=[1 << 60]),
    "sum_overflows": lambda: send(output(), [two], sizes=[1 << 63, 1 << 63]),
    "truncated": lambda: (send(output(), [two], sizes=[4000]), sys.exit(0)),
    "no_json": lambda: write(frame(b"{\"outputs\": [")),
    "no_object": lambda: write(frame(b"[1, 2]")),
    "deep_json": lambda: write(frame(b"[" * 1000000)),
    "no_outputs": lambda: send({}),
    "outputs_no_list": lambda: send({"outputs": 3}),
    "no_name": lambda: send({"outputs": [{"value": None}]}),
    "missing": lambda: send({"outputs": []}),
    "short": lambda: send(output(), [b"1234"]),
    "bad_dtype": lambda: send(output(dtype="float"), [two]),
    "no_dtype": lambda: send(output(dtype=7), [two]),
    "negative": lambda: send(output(shape=(-2,)), [two]),
    "overflow": lambda: send(output(shape=(1 << 62, 1 << 62)), [two]),
    "big_dim": lambda: send(output(shape=(1 << 64,)), [two]),
    "float_dim": lambda: send(output(shape=(2.0,)), [two]),
    "rank": lambda: send(output(shape=[1] * 1000), [two]),
    "payload_number": lambda: send(output(payload=1), [two]),
    "payload_negative": lambda: send(output(payload=-1), [two]),
    "payload_text": lambda: send(output(payload="0"), [two]),
    "other_shape": lambda: send(output(shape=(1, 2)), [two]),
    "other_size": lambda: send(output(shape=(3,)), [two + two[:4]]),
    "strings": lambda: send(output(dtype="string"), [struct.pack("<I", 0xffffffff) + b"abcd"]),
    "strings_end": lambda: send(output(dtype="string"), [struct.pack("<I", 1) + b"a"]),
    "strings_more": lambda: send(output(dtype="string"), [struct.pack("<III", 0, 0, 0)]),
    "many_strings": lambda: send(output(dtype="string", shape=(1 << 40,)), [two]),
    "a_string": lambda: send(output(dtype="string"), [struct.pack("<II", 0, 0)]),
    "strings_twice": lambda: send({"outputs": [output(dtype="string")["outputs"][0]] * 2}, [struct.pack("<II", 0, 0)]),
    "sequence": lambda: send({"outputs": [{"name": "y", "value": {"sequence": [], "dtype": "f32"}}]}),
    "nested": lambda: send(nested(100), [two[:4]]),
    **{name: lambda v=value: send({"outputs": [{"name": "y", "value": v[0]}]}, v[1]) for name, value in CONTAINERS.items()},
    "bool7": lambda: send(output(dtype="bool"), [b"\x00\x07"]),
    "odd_ms": lambda: send({"ms": -1, **output()}, [two]),
    "null": lambda: send({"outputs": [{"name": "y", "value": None}]}),
    "doubles": lambda: send(output(dtype="f64"), [struct.pack("<2d", 1, 2)]),
    "refuses": lambda: send({"error": {"kind": "unsupported", "message": "no such op: \x1b[1mAbacus\x07\n"}}),
    "odd_error": lambda: send({"error": 3}),
    "long_error": lambda: send({"error": {"kind": "x", "message": "e" * 100000}}),
}
AT_TIME = {
    "echo": lambda h: send({}, [struct.pack(f"<{h['runs']}d", *range(1, h["runs"] + 1))]),
    "few_samples": lambda h: send({}, [struct.pack("<d", 1)]),
    "nan_samples": lambda h: send({}, [struct.pack("<3d", 1, 2, float("nan"))]),
    "odd_samples": lambda h: send({}, [b"12345"]),
    "no_samples": lambda h: send({}),
}

if mode == "hang_at_start":
    hang()
if mode == "die_at_start":
    die()
if mode == "early":
    write(frame(b"{}") * 3)
    hang()
while True:
    _, _, size, count = struct.unpack("<4sIII", read(16))
    sizes = struct.unpack(f"<{count}Q", read(8 * count))
    header = json.loads(read(size))
    if mode == "deaf" and header["op"] == "bind":
        hang()
    blobs = [read(s) for s in sizes]
    op = header["op"]
    if op == "hello":
        send({} if mode == "nobody" else {"runtime": "Fake", "version": "7"})
    elif op == "load":
        if extra == "show_load":
            sys.stderr.write(json.dumps(header))
            die()
        names = [{"name": n} for n in header["shapes"]]
        if extra == "show_size":
            send({"load_ms": os.path.getsize(header["model"]) if header["temporary"] else 0, "inputs": names, "outputs": []})
            continue
        send({"load_ms": "soon" if mode == "odd_load" else 2.5, "inputs": names, "outputs": []})
    elif op == "bind":
        inputs, payloads = header["inputs"], blobs
        send({})
    elif op == "run":
        AT_RUN.get(mode, echo)()
    elif op == "time":
        AT_TIME.get(mode, AT_TIME["echo"])(header)
    elif op == "figures":
        send({"peak_rss_bytes": {"odd_figures": -5, "huge_figures": 2**64 - 1}.get(mode, 123456789)})
