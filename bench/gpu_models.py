"""Models for bench/gpu.py, written without any library: whole networks as ONNX files with random weights.

The messages are ONNX's (onnx.proto3) in protobuf's wire format: a field is the varint `number << 3 | type`, then a varint (type 0), four bytes
(type 5) or a length and so many bytes (type 2).
"""
import array
import random
import struct

FLOAT, INT64 = 1, 7
OPSET = 20


def varint(n):
    n &= (1 << 64) - 1
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out)


def number(field, value):
    return varint(field << 3) + varint(value)


def data(field, payload):
    payload = payload.encode() if isinstance(payload, str) else payload
    return varint(field << 3 | 2) + varint(len(payload)) + payload


def attribute(name, value):
    """AttributeProto: name 1, f 2, i 3, s 4, ints 8, type 20."""
    if isinstance(value, float):
        return data(1, name) + varint(2 << 3 | 5) + struct.pack("<f", value) + number(20, 1)
    if isinstance(value, int):
        return data(1, name) + number(3, value) + number(20, 2)
    if isinstance(value, str):
        return data(1, name) + data(4, value) + number(20, 3)
    return data(1, name) + b"".join(number(8, v) for v in value) + number(20, 7)


def value_info(name, dtype, shape):
    dims = b"".join(data(1, number(1, d)) for d in shape)
    return data(1, name) + data(2, data(1, number(1, dtype) + data(2, dims)))


def tensor(name, dtype, shape, raw):
    """TensorProto: dims 1, data_type 2, name 8, raw_data 9."""
    return b"".join(number(1, d) for d in shape) + number(2, dtype) + data(8, name) + data(9, raw)


class Model:
    """A graph under construction. Ops return the name of their result."""

    _noise = None

    def __init__(self, name):
        self.name, self.nodes, self.weights, self.inputs, self.outputs, self.count = name, [], [], [], [], 0
        if Model._noise is None:
            generator = random.Random(1)
            Model._noise = array.array("f", (generator.gauss(0, 1) for _ in range(1 << 16)))

    def fresh(self):
        self.count += 1
        return f"v{self.count}"

    def input(self, name, dtype, shape):
        self.inputs.append(value_info(name, dtype, shape))
        return name

    def output(self, value, dtype, shape):
        self.outputs.append(value_info(value, dtype, shape))

    def weight(self, *shape, scale=0.02, offset=0.0):
        """Normal numbers; larger tensors repeat 65,536 of them."""
        size = 1
        for d in shape:
            size *= d
        block = array.array("f", (offset + scale * x for x in Model._noise)).tobytes()
        raw = (block * (4 * size // len(block) + 1))[: 4 * size]
        name = self.fresh()
        self.weights.append(tensor(name, FLOAT, shape, raw))
        return name

    def integers(self, *values):
        name = self.fresh()
        self.weights.append(tensor(name, INT64, [len(values)], struct.pack(f"<{len(values)}q", *values)))
        return name

    def scalar(self, value):
        name = self.fresh()
        self.weights.append(tensor(name, FLOAT, [], struct.pack("<f", value)))
        return name

    def op(self, kind, *inputs, outputs=1, **attributes):
        """NodeProto: input 1, output 2, op_type 4, attribute 5."""
        made = [self.fresh() for _ in range(outputs)]
        self.nodes.append(b"".join(data(1, i) for i in inputs) + b"".join(data(2, o) for o in made) + data(4, kind) +
                          b"".join(data(5, attribute(k, v)) for k, v in attributes.items()))
        return made[0] if outputs == 1 else made

    def write(self, path):
        """GraphProto: node 1, name 2, initializer 5, input 11, output 12. ModelProto: ir_version 1, graph 7, opset_import 8."""
        with open(path, "wb") as file:
            graph = [data(1, n) for n in self.nodes] + [data(2, self.name)] + [data(5, w) for w in self.weights]
            graph += [data(11, i) for i in self.inputs] + [data(12, o) for o in self.outputs]
            file.write(number(1, 9) + data(8, data(1, "") + number(2, OPSET)) + varint(7 << 3 | 2) + varint(sum(map(len, graph))))
            for part in graph:
                file.write(part)

    # Layers

    def linear(self, x, columns_in, columns_out):
        return self.op("Add", self.op("MatMul", x, self.weight(columns_in, columns_out)), self.weight(columns_out))

    def norm(self, x, width):
        return self.op("LayerNormalization", x, self.weight(width, offset=1.0), self.weight(width), axis=-1, epsilon=1e-5)

    def heads(self, x, length, heads, size):
        return self.op("Transpose", self.op("Reshape", x, self.integers(1, length, heads, size)), perm=[0, 2, 1, 3])

    def attend(self, q, k, v, length, width, size):
        """softmax(q kᵀ / √size) v, with the heads side by side again."""
        scores = self.op("Mul", self.op("MatMul", q, self.op("Transpose", k, perm=[0, 1, 3, 2])), self.scalar(size ** -0.5))
        mixed = self.op("MatMul", self.op("Softmax", scores, axis=-1), v)
        return self.op("Reshape", self.op("Transpose", mixed, perm=[0, 2, 1, 3]), self.integers(1, length, width))

    def feed_forward(self, x, width):
        return self.linear(self.op("Gelu", self.linear(x, width, 4 * width)), 4 * width, width)


def bert(small, model=Model):
    """BERT-base's encoder: 12 layers of width 768, 12 heads, 128 tokens."""
    layers, width, heads, length, words = (1, 64, 2, 16, 500) if small else (12, 768, 12, 128, 30522)
    m = model("bert")
    ids = m.input("input_ids", INT64, [1, length])
    x = m.norm(m.op("Add", m.op("Gather", m.weight(words, width), ids), m.weight(1, length, width)), width)
    size = width // heads
    for _ in range(layers):
        q, k, v = (m.heads(m.linear(x, width, width), length, heads, size) for _ in range(3))
        x = m.norm(m.op("Add", x, m.linear(m.attend(q, k, v, length, width, size), width, width)), width)
        x = m.norm(m.op("Add", x, m.feed_forward(x, width)), width)
    m.output(x, FLOAT, [1, length, width])
    return m


def gpt2_decode(small, model=Model):
    """GPT-2 (124 M) on one token behind a cache of 1023."""
    layers, width, heads, past, words = (1, 64, 2, 31, 500) if small else (12, 768, 12, 1023, 50257)
    m = model("gpt2_decode")
    size, total = width // heads, past + 1
    table = m.weight(words, width)
    x = m.op("Add", m.op("Gather", table, m.input("input_ids", INT64, [1, 1])), m.weight(1, 1, width))
    for layer in range(layers):
        n = m.norm(x, width)
        q, k, v = (m.heads(m.linear(n, width, width), 1, heads, size) for _ in range(3))
        k, v = (m.op("Concat", m.input(f"past_{name}_{layer}", FLOAT, [1, heads, past, size]), new, axis=2) for name, new in (("key", k), ("value", v)))
        for cache in (k, v):
            m.output(cache, FLOAT, [1, heads, total, size])
        x = m.op("Add", x, m.linear(m.attend(q, k, v, 1, width, size), width, width))
        x = m.op("Add", x, m.feed_forward(m.norm(x, width), width))
    logits = m.op("MatMul", m.norm(x, width), m.op("Transpose", table, perm=[1, 0]))
    m.output(logits, FLOAT, [1, 1, words])
    return m


def resnet50(small, model=Model):
    """ResNet-50 with its batch normalisations folded into the convolutions."""
    side, widths, blocks = (32, (4, 8, 8, 16), (1, 1, 1, 1)) if small else (224, (64, 128, 256, 512), (3, 4, 6, 3))
    m = model("resnet50")

    def conv(x, channels_in, channels_out, size, stride=1):
        scale = (2 / (channels_in * size * size)) ** 0.5
        return m.op("Conv", x, m.weight(channels_out, channels_in, size, size, scale=scale), m.weight(channels_out), kernel_shape=[size, size],
                    strides=[stride, stride], pads=[size // 2] * 4)

    x = m.op("Relu", conv(m.input("image", FLOAT, [1, 3, side, side]), 3, widths[0], 7, 2))
    x = m.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    channels = widths[0]
    for stage, (width, count) in enumerate(zip(widths, blocks)):
        for block in range(count):
            stride = 2 if stage > 0 and block == 0 else 1
            y = m.op("Relu", conv(x, channels, width, 1))
            y = conv(m.op("Relu", conv(y, width, width, 3, stride)), width, 4 * width, 1)
            x = m.op("Relu", m.op("Add", y, x if block else conv(x, channels, 4 * width, 1, stride)))
            channels = 4 * width
    x = m.op("Flatten", m.op("GlobalAveragePool", x), axis=1)
    m.output(m.op("Gemm", x, m.weight(channels, 1000), m.weight(1000)), FLOAT, [1, 1000])
    return m


NETWORKS = {"bert_base": bert, "resnet50": resnet50, "gpt2_decode": gpt2_decode}
