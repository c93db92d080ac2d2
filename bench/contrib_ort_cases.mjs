// Random cases of ONNX Runtime's operators for contrib_ort.mjs: what they take stands in ONNX Runtime's docs/ContribOperators.md.

class Random {
  constructor(seed) {
    this.state = seed >>> 0;
  }
  /// In [0, 1): mulberry32.
  next() {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let t = this.state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  }
  int(low, high) {
    return low + Math.floor(this.next() * (high - low + 1));
  }
  chance(p = 0.5) {
    return this.next() < p;
  }
  pick(...list) {
    return list[this.int(0, list.length - 1)];
  }
  /// Now and then nothing.
  maybe(make, p = 0.5) {
    return this.chance(p) ? make() : null;
  }
}

const size = (dims) => dims.reduce((product, d) => product * d, 1);
const fill = (array, dims, make) => Object.assign(new array(size(dims))).map(make);
const floats = (r, dims, scale = 1, middle = 0) => ({ type: 'float32', dims, data: fill(Float32Array, dims, () => middle + scale * (2 * r.next() - 1)) });
const positive = (r, dims, low = 0.01, high = 0.1) => ({ type: 'float32', dims, data: fill(Float32Array, dims, () => low + (high - low) * r.next()) });
const ints = (r, type, array, dims, low, high) => ({ type, dims, data: fill(array, dims, () => r.int(low, high)) });
const u8 = (r, dims, low = 0, high = 255) => ints(r, 'uint8', Uint8Array, dims, low, high);
const i8 = (r, dims, low = -128, high = 127) => ints(r, 'int8', Int8Array, dims, low, high);
const i32 = (r, dims, low, high) => ints(r, 'int32', Int32Array, dims, low, high);
const i64 = (dims, values) => ({ type: 'int64', dims, data: BigInt64Array.from(values, BigInt) });
const bytesOf = (r, signed) => (dims, low, high) => (signed ? i8(r, dims, low, high) : u8(r, dims, low, high));
const fixed = (tensor) => tensor && { ...tensor, fixed: true };
const real = (value) => ({ float: value });
const shapeOf = (r, low = 1, high = 4) => Array.from({ length: r.int(low, high) }, () => r.int(1, 7));
const kMicrosoft = 'com.microsoft';

/// Broadcast partners: the same shape, a trailing part of it, or with ones.
function partner(r, dims) {
  const cut = dims.slice(r.pick(0, 0, r.int(0, dims.length - 1)));
  return cut.map((d) => (r.chance(0.2) ? 1 : d));
}

const activation = (name) => (r) => ({ inputs: [floats(r, shapeOf(r), 4)], ...(name === 'QuickGelu' && r.chance() ? { attrs: { alpha: real(r.pick(1, 1.5, 0.5)) } } : {}) });

/// 0 and 1, the ends of each row 1: where a query has no key, scores vanish in the sum with the mask.
function keep(r, dims) {
  const mask = i32(r, dims, 0, 1), row = dims.at(-1);
  mask.data.forEach((_, i) => { if (i % row === row - 1 || i % row === 0) mask.data[i] = 1; });
  return mask;
}

function attention(r) {
  const batch = r.int(1, 3), seq = r.int(1, 6), heads = r.int(1, 3), head = r.pick(2, 4, 8), width = heads * head, input = r.pick(width, 6);
  const own = r.chance(0.3), valueHead = own ? r.pick(2, 4) : head, past = own ? 0 : r.pick(0, 0, r.int(1, 4)), total = seq + past;
  const mask = r.pick('none', 'raw', 'end', 'range', 'cube');
  const masks = {
    none: () => null, raw: () => keep(r, [batch, total]), end: () => i32(r, [batch], 1, total),
    range: () => ({ type: 'int32', dims: [2 * batch], data: Int32Array.from({ length: 2 * batch }, (_, i) => (i < batch ? r.int(1, total) : 0)) }),
    cube: () => keep(r, [batch, seq, total]),
  };
  const attrs = { num_heads: heads };
  if (r.chance(0.4)) attrs.unidirectional = r.int(0, 1);
  if (r.chance(0.2)) attrs.scale = real(0.7);
  if (r.chance(0.2)) attrs.mask_filter_value = real(-50);
  if (own) attrs.qkv_hidden_sizes = { ints: [width, width, heads * valueHead] };
  const columns = 2 * width + heads * valueHead;
  return {
    attrs, inputs: [floats(r, [batch, seq, input]), fixed(floats(r, [input, columns])), fixed(floats(r, [columns])), masks[mask](),
                    past ? floats(r, [2, batch, heads, past, head]) : null,
                    r.maybe(() => floats(r, [r.pick(1, batch), r.pick(1, heads), seq, total]), 0.3)],
    outputs: past || (!own && r.chance(0.3)) ? ['float32', 'float32'] : ['float32'],
  };
}

function multiHeadAttention(r) {
  const batch = r.int(1, 3), seq = r.int(1, 5), heads = r.int(1, 3), head = r.pick(2, 4, 8), width = heads * head;
  const past = r.pick(0, 0, r.int(1, 3)), cross = !past && r.chance(0.4), keys = cross ? r.int(1, 6) : seq, total = past + keys;
  const valueHead = past ? head : r.pick(head, 4), form = r.pick('plain', 'plain', 'plain', cross ? 'cross' : 'plain', 'kv', 'qkv');
  const attrs = { num_heads: heads };
  if (r.chance(0.3)) attrs.unidirectional = 1;
  if (r.chance(0.2)) attrs.scale = real(0.7);
  if (r.chance(0.2)) attrs.mask_filter_value = real(-30);
  let [query, key, value] = [floats(r, [batch, seq, width]), floats(r, [batch, keys, width]), floats(r, [batch, keys, heads * valueHead])];
  if (form === 'cross') [key, value] = [floats(r, [batch, heads, keys, head]), floats(r, [batch, heads, keys, valueHead])];
  if (form === 'kv') [key, value] = [floats(r, [batch, keys, heads, 2, head]), null];
  if (form === 'qkv') [query, key, value] = [floats(r, [batch, seq, heads, 3, head]), null, null];
  const mask = r.pick(null, null, () => i32(r, [batch], 1, total), () => keep(r, [batch, total]), () => keep(r, [batch, seq, total]));
  return {
    attrs, inputs: [query, key, value, r.maybe(() => floats(r, [2 * width + heads * valueHead]), 0.4), mask && mask(),
                    r.maybe(() => floats(r, [r.pick(1, batch), r.pick(1, heads), seq, total]), 0.3),
                    past ? floats(r, [batch, heads, past, head]) : null, past ? floats(r, [batch, heads, past, valueHead]) : null],
    outputs: past || r.chance(0.3) ? ['float32', 'float32', 'float32'] : ['float32'],
  };
}

function rotations(r, rows, half) {
  const angles = Array.from({ length: rows * half }, () => 6 * r.next());
  return [Math.cos, Math.sin].map((f) => fixed({ type: 'float32', dims: [rows, half], data: Float32Array.from(angles, f) }));
}

function groupQueryAttention(r) {
  const batch = r.int(1, 3), groups = r.int(1, 2), heads = groups * r.int(1, 3), head = r.pick(16, 16, 32), first = r.chance();
  const seq = first ? r.int(1, 5) : 1, past = first ? r.pick(0, 6) : r.int(1, 5), rotary = r.chance(), packed = r.chance(0.3);
  // Of rows behind a length, ONNX Runtime's are what the memory held.
  const lengths = Array.from({ length: batch }, () => (first ? seq : past + 1));
  const total = Math.max(...lengths, first ? seq : 1);
  const attrs = { num_heads: heads, kv_num_heads: groups };
  if (r.chance(0.3)) attrs.local_window_size = r.int(1, 4);
  if (r.chance(0.2)) attrs.softcap = real(3);
  if (r.chance(0.2)) attrs.smooth_softmax = 1;
  if (r.chance(0.2)) attrs.scale = real(0.3);
  if (rotary) attrs.do_rotary = 1, attrs.rotary_interleaved = r.int(0, 1);
  const cache = () => floats(r, [batch, groups, past, head]);
  return {
    attrs, inputs: [floats(r, [batch, seq, (packed ? heads + 2 * groups : heads) * head]), packed ? null : floats(r, [batch, seq, groups * head]),
                    packed ? null : floats(r, [batch, seq, groups * head]), past && !first ? cache() : null, past && !first ? cache() : null,
                    { type: 'int32', dims: [batch], data: Int32Array.from(lengths, (n) => n - 1) }, { type: 'int32', dims: [1], data: Int32Array.of(total) },
                    ...(rotary ? rotations(r, 16, head / 2) : [null, null]), null,
                    r.maybe(() => floats(r, [r.pick(1, batch), r.pick(1, heads), seq, total]), 0.2), r.maybe(() => floats(r, [heads]), 0.15)],
    outputs: ['float32', 'float32', 'float32'],
  };
}

function rotaryEmbedding(r) {
  const batch = r.int(1, 3), seq = r.int(1, 5), heads = r.int(1, 3), head = r.pick(4, 8), rows = 10, part = r.chance(0.3), flat = !part && r.chance();
  const attrs = {}, dims = part ? 4 : head;
  if (r.chance()) attrs.interleaved = 1;
  if (part) attrs.rotary_embedding_dim = dims, attrs.num_heads = heads;
  if (!part && r.chance(0.3)) attrs.num_heads = heads;
  const positions = r.chance() ? i64([1], [r.int(0, rows - seq)]) : i64([batch, seq], Array.from({ length: batch * seq }, () => r.int(0, rows - 1)));
  return { attrs, inputs: [floats(r, flat || part ? [batch, seq, heads * head] : [batch, heads, seq, head]), positions, ...rotations(r, rows, dims / 2)] };
}

function skipNorm(simplified) {
  return (r) => {
    const batch = r.int(1, 3), seq = r.int(1, 5), width = r.int(2, 9), x = [batch, seq, width];
    const tail = simplified ? [] : [r.maybe(() => floats(r, [width]))];
    return {
      attrs: r.chance() ? { epsilon: real(1e-3) } : {},
      inputs: [floats(r, x), floats(r, r.pick(x, x, [1, seq, width], [seq, width])), floats(r, [width]), ...tail, r.maybe(() => floats(r, [width]))],
      outputs: r.pick(['float32'], ['float32', null, null, 'float32']),
    };
  };
}

function layerNorm(simplified) {
  return (r) => {
    const dims = shapeOf(r, 2, 4), axis = r.int(0, dims.length - 1), part = dims.slice(axis);
    const more = simplified ? [null, 'float32'] : ['float32', 'float32'];
    return {
      domain: '', opset: 17, attrs: { axis: r.pick(axis, axis - dims.length), epsilon: real(1e-3), ...(simplified ? { stash_type: 1 } : {}) },
      inputs: [floats(r, dims), floats(r, part), ...(simplified ? [] : [r.maybe(() => floats(r, part))])],
      outputs: r.chance() ? ['float32'] : ['float32', ...(simplified ? ['float32'] : more)],
    };
  };
}

function embedLayerNorm(r) {
  const batch = r.int(1, 3), seq = r.int(1, 5), width = r.int(2, 9), segments = r.chance(), mask = r.chance();
  const attrs = r.chance() ? { epsilon: real(1e-3) } : {};
  if (mask && r.chance()) attrs.mask_index_type = r.int(0, 1);
  return {
    attrs, inputs: [i32(r, [batch, seq], 0, 9), segments ? i32(r, [batch, seq], 0, 1) : null, fixed(floats(r, [10, width])), fixed(floats(r, [8, width])),
                    segments ? fixed(floats(r, [2, width])) : null, fixed(floats(r, [width])), fixed(floats(r, [width])), mask ? i32(r, [batch, seq], 0, 1) : null,
                    r.maybe(() => i32(r, [r.pick(1, batch), seq], 0, 7), 0.3)],
    outputs: ['float32', 'int32', ...(r.chance(0.3) ? ['float32'] : [])],
  };
}

function fusedMatMul(r) {
  const [m, k, n] = [r.int(1, 6), r.int(1, 6), r.int(1, 6)], batches = r.pick([], [], [r.int(1, 3)], [r.int(1, 3), r.int(1, 3)]);
  const attrs = {};
  if (r.chance()) attrs.alpha = real(r.pick(0.5, 2));
  const side = (rows, columns, letter) => {
    const turned = r.chance(), batched = batches.length > 0 && r.chance(0.3);
    if (turned) attrs[`trans${letter}`] = 1;
    if (batched) attrs[`transBatch${letter}`] = 1;
    const [outer, inner] = turned ? [columns, rows] : [rows, columns];
    // With transBatch the batches follow the first of the two.
    return floats(r, batched ? [outer, ...batches, inner] : [...batches, outer, inner]);
  };
  return { attrs, inputs: [side(m, k, 'A'), side(k, n, 'B')] };
}

const kActivations = ['Relu', 'Sigmoid', 'Tanh', 'LeakyRelu', 'Clip', 'HardSigmoid'];

function fusedConv(r) {
  const group = r.pick(1, 1, 2), channels = group * r.int(1, 3), filters = group * r.int(1, 3), rank = r.pick(1, 2, 2), kernel = Array.from({ length: rank }, () => r.int(1, 3));
  const sizes = kernel.map((k) => k + r.int(0, 4)), batch = r.int(1, 2), act = r.pick(...kActivations);
  const params = { LeakyRelu: [0.2], Clip: [-0.5, 0.7], HardSigmoid: [0.3, 0.4] }[act];
  const attrs = { group, kernel_shape: { ints: kernel }, activation: act, pads: { ints: Array(2 * rank).fill(0) } };
  if (params) attrs.activation_params = { floats: params };
  return {
    attrs, inputs: [floats(r, [batch, channels, ...sizes]), floats(r, [filters, channels / group, ...kernel]), r.maybe(() => floats(r, [filters])),
                    r.maybe(() => floats(r, [batch, filters, ...sizes.map((s, i) => s - kernel[i] + 1)]), 0.3)],
  };
}

function fusedGemm(r) {
  const [m, k, n] = [r.int(1, 5), r.int(1, 5), r.int(1, 5)], act = r.pick('Relu', 'Sigmoid', 'Tanh', 'LeakyRelu', 'HardSigmoid', 'Elu', 'Softplus');
  const attrs = { activation: act, transA: r.int(0, 1), transB: r.int(0, 1), alpha: real(0.5), beta: real(2) };
  if (act === 'LeakyRelu' || act === 'Elu') attrs.activation_alpha = real(0.3);
  if (act === 'HardSigmoid') attrs.activation_alpha = real(0.3), attrs.activation_beta = real(0.6);
  return { attrs, inputs: [floats(r, attrs.transA ? [k, m] : [m, k]), floats(r, attrs.transB ? [n, k] : [k, n]), r.maybe(() => floats(r, r.pick([n], [1, n], [m, n], [m, 1], [1])))] };
}

function matMulNBits(r) {
  const bits = r.pick(4, 4, 8, 2), block = r.pick(16, 32, 64), k = r.pick(block, 2 * block, 40), n = r.int(1, 6), blocks = Math.ceil(k / block), attrs = { K: k, N: n, bits, block_size: block };
  const points = r.pick(null, null, () => u8(r, [n, Math.ceil((blocks * bits) / 8)]), () => floats(r, [n, blocks], 3, 2 ** (bits - 1)));
  return {
    attrs, inputs: [floats(r, [...r.pick([], [2]), r.int(1, 4), k]), fixed(u8(r, [n, blocks, (block * bits) / 8])), fixed(floats(r, r.pick([n, blocks], [n * blocks]), 0.1)),
                    points && fixed(points()), null, r.maybe(() => fixed(floats(r, [n])), 0.3)],
  };
}

function gatherBlockQuantized(r) {
  const kind = r.pick('uint4', 'int4', 'bytes', 'wide'), block = r.pick(16, 32), rows = r.int(2, 5), columns = r.pick(block, 2 * block), blocks = columns / block;
  const bits = kind === 'wide' ? 8 : 4, raw = u8(r, [rows, (columns * bits) / 8]);
  const data = kind === 'uint4' || kind === 'int4' ? { type: kind, dims: [rows, columns], data: raw.data } : raw;
  const attrs = { gather_axis: 0, quantize_axis: 1, block_size: block };
  if (kind === 'wide' || kind === 'bytes') attrs.bits = bits;
  const half = Math.ceil(blocks / 2);
  const points = {
    uint4: () => ({ type: kind, dims: [rows, blocks], data: u8(r, [Math.ceil((rows * blocks) / 2)]).data }), int4: () => ({ type: kind, dims: [rows, blocks], data: u8(r, [Math.ceil((rows * blocks) / 2)]).data }),
    bytes: () => u8(r, [rows, half]), wide: () => u8(r, [rows, blocks]),
  };
  const at = shapeOf(r, 1, 2);
  return { attrs, opset: 21, inputs: [fixed(data), i64(at, Array.from({ length: size(at) }, () => r.int(-rows, rows - 1))), fixed(floats(r, [rows, blocks])), r.maybe(() => fixed(points[kind]()))] };
}

function qAttention(r) {
  const batch = r.int(1, 2), seq = r.int(1, 5), heads = r.int(1, 3), head = r.pick(2, 4), width = heads * head, input = r.pick(4, 8), columns = 3 * width, past = r.pick(0, 0, 2);
  const perColumn = r.chance(0.4), signedWeight = r.chance(), weight = bytesOf(r, signedWeight);
  const attrs = { num_heads: heads };
  if (r.chance(0.4)) attrs.unidirectional = 1;
  return {
    attrs, inputs: [u8(r, [batch, seq, input]), fixed(weight([input, columns])), fixed(floats(r, [columns])), positive(r, [1], 0.01, 0.02), fixed(positive(r, [perColumn ? columns : 1], 0.01, 0.02)),
                    r.pick(null, i32(r, [batch, seq + past], 0, 1), i32(r, [batch], 1, seq + past)), u8(r, [1]), fixed(weight([perColumn ? columns : 1], signedWeight ? -5 : 120, signedWeight ? 5 : 135)),
                    past ? floats(r, [2, batch, heads, past, head]) : null],
    outputs: past ? ['float32', 'float32'] : ['float32'],
  };
}

/// A quantised tensor with its scale and zero point.
const grid = (r, signed, dims, make = (d) => bytesOf(r, signed)(d)) => [make(dims), positive(r, []), r.maybe(() => bytesOf(r, signed)([]), 0.8)];

const qLinearBinary = (r) => {
  const signed = r.chance(), dims = shapeOf(r), other = partner(r, dims), [a, b] = r.chance() ? [dims, other] : [other, dims];
  return { quantised: true, inputs: [...grid(r, signed, a), ...grid(r, signed, b), positive(r, [], 0.02, 0.3), r.maybe(() => bytesOf(r, signed)([]), 0.8)], outputs: [signed ? 'int8' : 'uint8'] };
};

const qLinearUnary = (name) => (r) => {
  const signed = r.chance();
  return {
    quantised: true, attrs: name === 'QLinearLeakyRelu' ? { alpha: real(r.pick(0.01, 0.2)) } : {},
    inputs: [...grid(r, signed, shapeOf(r)).map((t, i) => (i ? fixed(t) : t)), fixed(positive(r, [], 0.004, 0.2)), r.maybe(() => fixed(bytesOf(r, signed)([])), 0.8)], outputs: [signed ? 'int8' : 'uint8'],
  };
};

function qLinearConcat(r) {
  const signed = r.chance(), dims = shapeOf(r), axis = r.int(0, dims.length - 1), point = () => fixed(bytesOf(r, signed)([]));
  const parts = Array.from({ length: r.int(1, 3) }, () => [bytesOf(r, signed)(dims.map((d, i) => (i === axis ? r.int(1, 4) : d))), fixed(positive(r, [])), point()]);
  return { quantised: true, attrs: { axis: r.pick(axis, axis - dims.length) }, inputs: [fixed(positive(r, [])), point(), ...parts.flat()], outputs: [signed ? 'int8' : 'uint8'] };
}

function qLinearPool(global) {
  return (r) => {
    const signed = r.chance(), last = r.chance(0.4), kernel = [r.int(1, 3), r.int(1, 3)], space = kernel.map((k) => k + r.int(0, 4)), channels = r.int(1, 5), batch = r.int(1, 2);
    const attrs = last ? { channels_last: 1 } : {};
    if (!global) {
      Object.assign(attrs, { kernel_shape: { ints: kernel }, strides: { ints: [r.int(1, 2), r.int(1, 2)] } });
      if (r.chance(0.4)) attrs.pads = { ints: kernel.concat(kernel).map((k) => r.int(0, k - 1)) }, attrs.count_include_pad = r.int(0, 1);
      if (r.chance(0.3)) attrs.ceil_mode = 1;
    }
    return {
      quantised: true, attrs, inputs: [...grid(r, signed, last ? [batch, ...space, channels] : [batch, channels, ...space]), positive(r, []), r.maybe(() => bytesOf(r, signed)([]), 0.8)],
      outputs: [signed ? 'int8' : 'uint8'],
    };
  };
}

/// ONNX Runtime's sums overflow where they have one term.
function qLinearSoftmax(r) {
  const signed = r.chance(), dims = shapeOf(r, 1, 4), axis = r.int(0, dims.length - 1);
  dims[axis] = Math.max(dims[axis], 2);
  return {
    quantised: true, attrs: { axis: r.pick(axis, axis - dims.length), opset: r.pick(12, 13) },
    inputs: [bytesOf(r, signed)(dims), fixed(positive(r, [])), fixed(bytesOf(r, signed)([])), fixed(positive(r, [], 1 / 254, 1 / 200)), fixed(bytesOf(r, signed)([], signed ? -128 : 0, signed ? -128 : 0))],
    outputs: [signed ? 'int8' : 'uint8'],
  };
}

function byteMatMul(dynamic) {
  return (r) => {
    const [m, k, n] = [r.int(1, 5), r.int(1, 9), r.int(1, 6)], batch = r.pick([], [], [2]), signedA = !dynamic && r.chance(), signedB = r.chance(), perColumn = r.chance(0.4);
    const bScale = fixed(positive(r, perColumn ? [n] : [1])), bPoint = r.maybe(() => fixed(bytesOf(r, signedB)(perColumn ? [n] : [1])), 0.7), bias = r.maybe(() => fixed(floats(r, [n])));
    const b = fixed(bytesOf(r, signedB)([k, n]));
    if (dynamic) return { inputs: [floats(r, [...batch, m, k]), b, bScale, bPoint, bias] };
    return { inputs: [bytesOf(r, signedA)([...batch, m, k]), b, positive(r, [1]), bScale, r.maybe(() => bytesOf(r, signedA)([1]), 0.7), bPoint, bias] };
  };
}

function qGemm(r) {
  const [m, k, n] = [r.int(1, 5), r.int(1, 9), r.int(1, 6)], signedA = r.chance(), signedB = signedA || r.chance(), perColumn = r.chance(0.4), toReal = r.chance();
  const attrs = { transA: 0, transB: r.int(0, 1), alpha: real(r.pick(1, 0.5)) };
  return {
    quantised: !toReal, attrs, inputs: [bytesOf(r, signedA)([m, k]), positive(r, []), bytesOf(r, signedA)([]), fixed(bytesOf(r, signedB)(attrs.transB ? [n, k] : [k, n])), fixed(positive(r, perColumn ? [n] : [])),
                                        fixed(bytesOf(r, signedB)(perColumn ? [n] : [])), r.maybe(() => fixed(i32(r, [n], -500, 500))), ...(toReal ? [] : [fixed(positive(r, [], 0.1, 0.4)), fixed(bytesOf(r, signedA)([]))])],
    outputs: [toReal ? 'float32' : signedA ? 'int8' : 'uint8'],
  };
}

/// Sequences of one length: of others, ONNX Runtime takes the ranges of states over other groups.
function dynamicQuantizeLstm(r) {
  const seq = r.int(1, 4), batch = r.int(1, 3), input = r.int(1, 6), hidden = r.int(1, 5), direction = r.pick('forward', 'reverse', 'bidirectional'), ways = direction === 'bidirectional' ? 2 : 1, perColumn = r.chance();
  const signed = r.chance(), weight = (rows) => fixed(bytesOf(r, signed)([ways, rows, 4 * hidden])), scale = () => fixed(positive(r, perColumn ? [ways, 4 * hidden] : [ways], 0.002, 0.01));
  const point = () => fixed(bytesOf(r, signed)(perColumn ? [ways, 4 * hidden] : [ways], signed ? 0 : 128, signed ? 0 : 128));
  return {
    attrs: { hidden_size: hidden, direction, ...(r.chance(0.2) ? { input_forget: 1 } : {}) },
    inputs: [floats(r, [seq, batch, input]), weight(input), weight(hidden), r.maybe(() => fixed(floats(r, [ways, 8 * hidden]))), r.maybe(() => i32(r, [batch], ...Array(2).fill(r.int(1, seq))), 0.3),
             r.maybe(() => floats(r, [ways, batch, hidden]), 0.4), r.maybe(() => floats(r, [ways, batch, hidden]), 0.4), r.maybe(() => fixed(floats(r, [ways, 3 * hidden])), 0.3), scale(), point(), scale(), point()],
    outputs: ['float32', 'float32', 'float32'],
  };
}

function qEmbedLayerNorm(r) {
  const batch = r.int(1, 3), seq = r.int(1, 5), width = r.int(2, 9), segments = r.chance(), mask = r.chance(), table = (rows) => fixed(u8(r, rows ? [rows, width] : [width])), signless = () => fixed(u8(r, []));
  return {
    attrs: r.chance() ? { epsilon: real(1e-3) } : {},
    inputs: [i32(r, [batch, seq], 0, 9), segments ? i32(r, [batch, seq], 0, 1) : null, table(10), table(8), segments ? table(2) : null, table(0), table(0), mask ? i32(r, [batch, seq], 0, 1) : null,
             ...Array.from({ length: 5 }, (_, i) => (i === 2 && !segments ? null : fixed(positive(r, [])))), ...Array.from({ length: 5 }, (_, i) => (i === 2 && !segments ? null : signless()))],
    outputs: ['float32', 'int32'],
  };
}

function qLinearWhere(r) {
  const signed = r.chance(), dims = shapeOf(r), point = () => fixed(bytesOf(r, signed)([])), scale = () => fixed(positive(r, []));
  return { quantised: true, inputs: [{ type: 'bool', dims, data: fill(Uint8Array, dims, () => r.int(0, 1)) }, bytesOf(r, signed)(partner(r, dims)), scale(), point(), bytesOf(r, signed)(dims), scale(), point(), scale(), point()], outputs: [signed ? 'int8' : 'uint8'] };
}

function matMulBnb4(r) {
  const [m, n] = [r.int(1, 4), r.int(1, 6)], block = r.pick(16, 32), k = r.pick(16, 32, 48), values = n * k;
  return { attrs: { K: k, N: n, block_size: block, quant_type: r.int(0, 1), transB: 1 }, inputs: [floats(r, [m, k]), fixed(u8(r, [Math.ceil(values / 2)])), fixed(positive(r, [Math.ceil(values / block)], 0.1, 1))] };
}

function gridSample(r) {
  const [batch, channels, h, w] = [r.int(1, 2), r.int(1, 3), r.int(2, 5), r.int(2, 5)];
  return { attrs: { mode: r.pick('bilinear', 'nearest', 'bicubic'), padding_mode: r.pick('zeros', 'border', 'reflection'), align_corners: r.int(0, 1) }, inputs: [floats(r, [batch, channels, h, w]), floats(r, [batch, r.int(1, 4), r.int(1, 4), 2], 1.3)] };
}

function cropAndResize(r) {
  const [channels, h, w, boxes] = [r.int(1, 3), r.int(3, 7), r.int(3, 7), r.int(1, 3)];
  const rois = { type: 'float32', dims: [boxes, 4], data: Float32Array.from({ length: 4 * boxes }, (_, i) => (i % 4 < 2 ? 0.4 * r.next() : 0.5 + 0.6 * r.next())) };
  return { attrs: { mode: r.pick('bilinear', 'nearest'), extrapolation_value: real(r.pick(0, 2)) }, inputs: [floats(r, [2, channels, h, w]), rois, i32(r, [boxes], 0, 1), { type: 'int32', dims: [2], data: Int32Array.of(r.int(1, 5), r.int(1, 5)) }] };
}

function padded(r) {
  const dims = shapeOf(r), mode = r.pick('constant', 'edge', 'reflect'), limit = (i) => (mode === 'reflect' ? dims[i] - 1 : 3);
  return { attrs: { mode }, inputs: [floats(r, dims), i64([2 * dims.length], [...dims, ...dims].map((_, i) => r.int(0, limit(i % dims.length)))), mode === 'constant' ? r.maybe(() => floats(r, [1])) : null] };
}

/// Convolution of bytes; the layout is com.microsoft's own where the channels come last.
function qLinearConv(r) {
  const last = r.chance(), group = r.pick(1, 1, 2), channels = group * r.int(1, 3), filters = group * r.int(1, 3), kernel = [r.int(1, 3), r.int(1, 3)], space = kernel.map((k) => k + r.int(0, 4));
  const signed = r.chance(), signedW = signed || r.chance(), perChannel = r.chance(), point = () => fixed(bytesOf(r, signed)([]));
  const attrs = { group, kernel_shape: { ints: kernel }, pads: { ints: kernel.concat(kernel).map((k) => r.int(0, k - 1)) }, strides: { ints: [r.int(1, 2), 1] } };
  if (last) attrs.channels_last = 1;
  return {
    quantised: true, attrs, inputs: [bytesOf(r, signed)(last ? [2, ...space, channels] : [2, channels, ...space]), fixed(positive(r, [])), point(), fixed(bytesOf(r, signedW)([filters, channels / group, ...kernel])),
                                     fixed(positive(r, perChannel ? [filters] : [])), fixed(bytesOf(r, signedW)(perChannel ? [filters] : [], signedW ? 0 : 128, signedW ? 0 : 128)), fixed(positive(r, [], 0.2, 0.9)), point(), r.maybe(() => fixed(i32(r, [filters], -900, 900)))],
    outputs: [signed ? 'int8' : 'uint8'],
  };
}

function nhwcMaxPool(r) {
  const signed = r.chance(), kernel = [r.int(1, 3), r.int(1, 3)], space = kernel.map((k) => k + r.int(0, 4));
  return { attrs: { kernel_shape: { ints: kernel }, strides: { ints: [r.int(1, 2), r.int(1, 2)] }, pads: { ints: kernel.concat(kernel).map((k) => r.int(0, k - 1)) } }, inputs: [bytesOf(r, signed)([r.int(1, 2), ...space, r.int(1, 5)])], outputs: [signed ? 'int8' : 'uint8'] };
}

function decoderMasked(r) {
  const batch = r.int(1, 3), heads = r.int(1, 3), head = r.pick(4, 8), width = heads * head, past = r.int(1, 4), room = past + r.int(1, 3), cache = () => floats(r, [batch, heads, room, head]);
  const query = floats(r, [batch, 1, width]), value = () => floats(r, [batch, 1, width]);
  return {
    attrs: { num_heads: heads, past_present_share_buffer: 1 }, inputs: [query, value(), value(), r.maybe(() => keep(r, [batch, past + 1]), 0.3), r.maybe(() => floats(r, [1, heads, 1, past + 1]), 0.3), cache(), cache(), { type: 'int32', dims: [1], data: Int32Array.of(past) }, null, null, r.maybe(() => floats(r, [3 * width]), 0.3)],
    outputs: ['float32', 'float32', 'float32'],
  };
}

function byteScale(r, back) {
  const signed = r.chance(), dims = shapeOf(r, 2, 3), perAxis = r.chance(), axis = r.int(0, dims.length - 1), rows = perAxis ? [dims[axis]] : [], x = back ? bytesOf(r, signed)(dims) : floats(r, dims, 4);
  return { quantised: !back, attrs: perAxis ? { axis } : {}, inputs: [x, positive(r, rows, 0.02, 0.1), bytesOf(r, signed)(rows)], outputs: [back ? 'float32' : signed ? 'int8' : 'uint8'] };
}

function nGramRepeatBlock(r) {
  const batch = r.int(1, 3), length = r.int(3, 8);
  return { attrs: { ngram_size: r.int(1, 3) }, inputs: [i64([batch, length], Array.from({ length: batch * length }, () => r.int(0, 3))), floats(r, [batch, 5])] };
}

const cdist = (r) => { const k = r.int(1, 5); return { attrs: { metric: r.pick('euclidean', 'sqeuclidean') }, inputs: [floats(r, [r.int(1, 5), k]), floats(r, [r.int(1, 5), k])] }; };

function inverse(r) {
  const n = r.int(1, 5), batch = r.pick([], [2], [2, 3]), dims = [...batch, n, n], x = floats(r, dims);
  for (let i = 0; i < size(batch) * n; ++i) x.data[i * n + (i % n)] += 4;
  return { inputs: [x] };
}

const unique = (r) => ({ inputs: [{ type: 'float32', dims: [9], data: Float32Array.from({ length: 9 }, () => r.int(0, 5)) }], outputs: ['float32', 'int64', 'int64'] });

function standardAttention(r) {
  const batch = r.int(1, 2), groups = r.int(1, 2), heads = groups * r.int(1, 2), seq = r.int(1, 5), keys = r.int(1, 6), head = r.pick(2, 4), attrs = {};
  if (r.chance(0.3)) attrs.is_causal = 1;
  if (r.chance(0.2)) attrs.softcap = real(2);
  return { domain: '', opset: 23, attrs, inputs: [floats(r, [batch, heads, seq, head]), floats(r, [batch, groups, keys, head]), floats(r, [batch, groups, keys, head]), r.maybe(() => floats(r, r.pick([seq, keys], [batch, 1, seq, keys], [batch, heads, seq, keys])))] };
}

const kGenerators = {
  Attention: attention, MultiHeadAttention: multiHeadAttention, GroupQueryAttention: groupQueryAttention, RotaryEmbedding: rotaryEmbedding,
  SkipLayerNormalization: skipNorm(false), SkipSimplifiedLayerNormalization: skipNorm(true), LayerNormalization: layerNorm(false), SimplifiedLayerNormalization: layerNorm(true),
  EmbedLayerNormalization: embedLayerNorm, Gelu: activation('Gelu'), QuickGelu: activation('QuickGelu'),
  FastGelu: (r) => { const dims = shapeOf(r); return { inputs: [floats(r, dims, 4), r.maybe(() => floats(r, [dims.at(-1)]))] }; },
  BiasGelu: (r) => { const dims = shapeOf(r); return { inputs: [floats(r, dims, 4), floats(r, [dims.at(-1)])] }; },
  FusedMatMul: fusedMatMul, FusedConv: fusedConv, FusedGemm: fusedGemm, MatMulNBits: matMulNBits, GatherBlockQuantized: gatherBlockQuantized, QAttention: qAttention,
  QLinearAdd: qLinearBinary, QLinearMul: qLinearBinary, QLinearSigmoid: qLinearUnary('QLinearSigmoid'), QLinearLeakyRelu: qLinearUnary('QLinearLeakyRelu'), QLinearConcat: qLinearConcat,
  QLinearAveragePool: qLinearPool(false), QLinearGlobalAveragePool: qLinearPool(true), QLinearSoftmax: qLinearSoftmax, DynamicQuantizeMatMul: byteMatMul(true), MatMulIntegerToFloat: byteMatMul(false),
  QGemm: qGemm, DynamicQuantizeLSTM: dynamicQuantizeLstm, QEmbedLayerNormalization: qEmbedLayerNorm, Inverse: inverse, Unique: unique,
  Trilu: (r) => { const dims = shapeOf(r, 2, 4); return { attrs: { upper: r.int(0, 1) }, inputs: [floats(r, dims), r.maybe(() => i64([], [r.int(-3, 3)]))] }; },
  QLinearWhere: qLinearWhere, MatMulBnb4: matMulBnb4, GridSample: gridSample, CropAndResize: cropAndResize, Pad: padded, QLinearConv: qLinearConv, NhwcMaxPool: nhwcMaxPool, DecoderMaskedMultiHeadAttention: decoderMasked,
  QuantizeLinear: (r) => byteScale(r, false), DequantizeLinear: (r) => byteScale(r, true), NGramRepeatBlock: nGramRepeatBlock, CDist: cdist,
  TransposeMatMul: (r) => { const made = fusedMatMul(r); return { ...made, attrs: Object.fromEntries(Object.entries(made.attrs).filter(([name]) => !name.startsWith('transBatch'))) }; },
  ExpandDims: (r) => { const dims = shapeOf(r); return { inputs: [floats(r, dims), fixed({ type: 'int32', dims: [], data: Int32Array.of(r.int(-dims.length, dims.length)) })] }; },
  Range: (r) => ({ inputs: [floats(r, []), positive(r, [], 3, 9), positive(r, [], 0.5, 1)] }),
  MurmurHash3: (r) => {
    const positive = r.int(0, 1);
    return { attrs: { seed: r.int(0, 9), positive }, inputs: [r.chance() ? i32(r, [4], -9, 9) : { type: 'string', dims: [3], data: ['a', 'tenon', ''] }], outputs: [positive ? 'uint32' : 'int32'] };
  },
  ConvTransposeWithDynamicPads: (r) => ({ attrs: { strides: { ints: [2, 2] } }, inputs: [floats(r, [1, 2, 3, 3]), floats(r, [2, 3, 3, 3]), i64([4], [1, 0, 1, 1]), r.maybe(() => floats(r, [3]))] }),
  NhwcConv: (r) => ({ inputs: [floats(r, [1, 4, 4, 2]), floats(r, [3, 2, 2, 2])] }), BiasSplitGelu: (r) => ({ inputs: [floats(r, [1, 4, 10]), floats(r, [10])] }),
  GroupNorm: (r) => ({ attrs: { groups: 2, activation: 1 }, inputs: [floats(r, [1, 3, 3, 4]), floats(r, [4]), floats(r, [4])] }), 'ai.onnx Attention': standardAttention,
};

export const opNames = Object.keys(kGenerators);

/// Rounded to nearest even.
function halfBits(value) {
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0, x = Math.abs(value);
  if (x >= 65520) return sign | 0x7c00;
  const exponent = Math.max(Math.floor(Math.log2(x || 1e-30)), -14), step = 2 ** (exponent - 10), whole = x / step;
  let rounded = Math.floor(whole);
  if (whole - rounded > 0.5 || (whole - rounded === 0.5 && rounded % 2 === 1)) ++rounded;
  return sign | (rounded < 1024 ? rounded : ((exponent + 15) << 10) + rounded - 1024);
}

/// The same case in half precision.
function halved(one) {
  const half = (t) => (t && t.type === 'float32' ? { ...t, type: 'float16', data: Uint16Array.from(t.data, halfBits) } : t);
  return { ...one, inputs: one.inputs.map(half), outputs: one.outputs.map((type) => (type === 'float32' ? 'float16' : type)) };
}

const kHalf = new Set(['MultiHeadAttention', 'GroupQueryAttention', 'RotaryEmbedding', 'SkipLayerNormalization', 'SkipSimplifiedLayerNormalization', 'LayerNormalization', 'Gelu', 'FastGelu', 'BiasGelu', 'QuickGelu',
                       'MatMulNBits', 'GatherBlockQuantized', 'ai.onnx Attention']);

export function caseOf(name, seed) {
  const random = new Random(seed);
  const made = kGenerators[name](random);
  const one = { op: name.split(' ').at(-1), domain: kMicrosoft, opset: 17, attrs: {}, outputs: ['float32'], quantised: false, ...made };
  return kHalf.has(name) && random.chance(0.2) ? halved(one) : one;
}
