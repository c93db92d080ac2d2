"""A runner for a runtime that has only a command line; here it is `tenon run` itself, whose path is the first argument:

    tenon run model.onnx --backend "exec:python3 examples/runner/runner.py build/release/bin/tenon"

docs/runners.md explains the protocol. Everything that knows the runtime is in load and run_once."""
import glob, json, os, shutil, struct, subprocess, sys, tempfile

requests, answers = os.fdopen(3, "rb"), os.fdopen(4, "wb")
NPY = {"f32": "<f4", "f64": "<f8", "f16": "<f2", "i8": "|i1", "i16": "<i2", "i32": "<i4", "i64": "<i8", "u8": "|u1", "bool": "|b1"}
model, inputs = "", {}

def receive():
    start = requests.read(16)
    if len(start) < 16:
        sys.exit(0)  # Tenon is done
    magic, version, header, count = struct.unpack("<4sIII", start)
    assert magic == b"TNRP" and version == 1
    sizes = struct.unpack(f"<{count}Q", requests.read(8 * count))
    return json.loads(requests.read(header)), [requests.read(size) for size in sizes]

def send(header, payloads=()):
    text = json.dumps(header).encode()
    answers.write(struct.pack(f"<4sIII{len(payloads)}Q", b"TNRP", 1, len(text), len(payloads), *map(len, payloads)) + text + b"".join(payloads))
    answers.flush()

def tenon(*arguments):
    done = subprocess.run([sys.argv[1], *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip())
    return json.loads(done.stdout)

def load(header, folder):
    global model  # header["threads"] says how many; the interpreter has one
    model = header["model"]
    if header["temporary"]:  # it goes after this, and every run reads it
        copy = shutil.copytree(os.path.dirname(model), f"{folder}/model", dirs_exist_ok=True)
        model = os.path.join(copy, os.path.basename(model))
    report = tenon("inspect", model, "--json", "-")
    return {"load_ms": 0, "inputs": report["inputs"], "outputs": report["outputs"]}

def run_once(folder):
    arguments = [f"--input={name}={file}" for name, file in inputs.items()]
    return tenon("run", model, "--backend", "reference", f"--output-dir={folder}", "--json", "-", *arguments)

with tempfile.TemporaryDirectory() as folder:
    while True:
        header, payloads = receive()
        op, reply, blobs = header["op"], {}, []
        try:
            if op == "hello":
                reply = {"runtime": "tenon run", "version": "0.1.0"}
            elif op == "load":
                reply = load(header, folder)
            elif op == "bind":
                for i, one in enumerate(header["inputs"]):
                    value = one["value"]
                    text = repr({"descr": NPY[value["dtype"]], "fortran_order": False, "shape": tuple(value["shape"])}).encode() + b"\n"
                    inputs[one["name"]] = f"{folder}/input_{i}.npy"
                    with open(inputs[one["name"]], "wb") as file:
                        file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + payloads[value["payload"]])
            elif op == "run":
                report = run_once(folder)
                reply["ms"], reply["outputs"] = report["first_run_ms"], []
                for i, output in enumerate(report["outputs"]):
                    data = open(glob.glob(f"{folder}/{i}_*.npy")[0], "rb").read()
                    blobs.append(data[10 + struct.unpack_from("<H", data, 8)[0]:])
                    reply["outputs"].append({"name": output["name"], "value": {"dtype": output["dtype"], "shape": output["shape"], "payload": i}})
            elif op == "time":
                samples = []
                while len(samples) < header["runs"] or sum(samples) < header["ms"]:
                    samples.append(run_once(folder)["first_run_ms"])
                blobs = [struct.pack(f"<{len(samples)}d", *samples)]
            elif op == "figures":
                reply = {"peak_rss_bytes": 0}
            else:
                raise NotImplementedError(op)
        except Exception as error:
            reply, blobs = {"error": {"kind": "internal", "message": str(error) or repr(error)}}, []
        send(reply, blobs)
