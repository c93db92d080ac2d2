// ONNX Runtime, from npm's onnxruntime-node, as a runner of Tenon: docs/runners.md has the protocol.
import fs from 'node:fs';
import { createRequire } from 'node:module';

const kRequests = 3, kAnswers = 4, kVersion = 1, kMagic = 0x50524e54;  // "TNRP"
const kChunk = 1 << 30;

const require = createRequire(import.meta.url);
// The copy that the binding uses.
const { env, Tensor } = createRequire(require.resolve('onnxruntime-node'))('onnxruntime-common');
// The native binding: its run() is synchronous, so a sample holds no turn of the event loop.
const { binding, initOrt } = require('onnxruntime-node/dist/binding.js');

// ---- Frames

/// Fills the bytes; false at the end of the stream before the first of them.
function readAll(bytes) {
  for (let at = 0; at < bytes.length;) {
    const n = fs.readSync(kRequests, bytes, at, Math.min(kChunk, bytes.length - at), null);
    if (n === 0) {
      if (at === 0) return false;
      throw new Error('the requests end within one');
    }
    at += n;
  }
  return true;
}

function writeAll(bytes) {
  for (let at = 0; at < bytes.length;) at += fs.writeSync(kAnswers, bytes, at, Math.min(kChunk, bytes.length - at));
}

function readMessage() {
  const start = Buffer.alloc(16);
  if (!readAll(start)) return null;
  if (start.readUInt32LE(0) !== kMagic || start.readUInt32LE(4) !== kVersion) throw new Error(`a request is no frame of version ${kVersion}`);
  const sizes = Buffer.alloc(8 * start.readUInt32LE(12));
  readAll(sizes);
  const text = Buffer.alloc(start.readUInt32LE(8));
  readAll(text);
  const payloads = [];
  for (let i = 0; i < sizes.length; i += 8) {
    // An ArrayBuffer of its own is aligned for every element type.
    const payload = new Uint8Array(new ArrayBuffer(Number(sizes.readBigUInt64LE(i))));
    if (payload.length) readAll(payload);
    payloads.push(payload);
  }
  return { header: JSON.parse(text.toString('utf8')), payloads };
}

function writeMessage(header, payloads = []) {
  const text = Buffer.from(JSON.stringify(header), 'utf8');
  const start = Buffer.alloc(16 + 8 * payloads.length);
  start.writeUInt32LE(kMagic, 0);
  start.writeUInt32LE(kVersion, 4);
  start.writeUInt32LE(text.length, 8);
  start.writeUInt32LE(payloads.length, 12);
  payloads.forEach((p, i) => start.writeBigUInt64LE(BigInt(p.byteLength), 16 + 8 * i));
  writeAll(Buffer.concat([start, text]));
  for (const p of payloads) writeAll(p);
}

// ---- Values

// Tenon's name: ONNX Runtime's, the array that holds the elements, ONNX's number.
const kTypes = {
  f32: ['float32', Float32Array, 1], f64: ['float64', Float64Array, 11], f16: ['float16', Uint16Array, 10],
  i8: ['int8', Int8Array, 3], i16: ['int16', Int16Array, 5], i32: ['int32', Int32Array, 6], i64: ['int64', BigInt64Array, 7],
  u8: ['uint8', Uint8Array, 2], u16: ['uint16', Uint16Array, 4], u32: ['uint32', Uint32Array, 12], u64: ['uint64', BigUint64Array, 13],
  bool: ['bool', Uint8Array, 9], i4: ['int4', Int8Array, 22], u4: ['uint4', Uint8Array, 21], string: ['string', null, 8],
};
const kNames = Object.fromEntries(Object.entries(kTypes).map(([name, [type]]) => [type, name]));
const kNumbers = Object.fromEntries(Object.entries(kTypes).map(([name, [, , number]]) => [number, name]));

class Failure extends Error {
  constructor(kind, message) {
    super(message);
    this.kind = kind;
  }
}

function unpackStrings(bytes) {
  const out = [], buffer = Buffer.from(bytes.buffer);
  for (let at = 0; at < buffer.length;) {
    const size = buffer.readUInt32LE(at);
    out.push(buffer.toString('utf8', at + 4, at + 4 + size));
    at += 4 + size;
  }
  return out;
}

function packStrings(values) {
  return Buffer.concat(values.flatMap((value) => {
    const text = Buffer.from(value, 'utf8'), size = Buffer.alloc(4);
    size.writeUInt32LE(text.length);
    return [size, text];
  }));
}

function toTensor({ name, value }, payloads) {
  if (!value || value.payload === undefined) throw new Failure('unsupported', `input ${name}: onnxruntime-node takes tensors only`);
  const entry = kTypes[value.dtype];
  if (!entry) throw new Failure('unsupported', `input ${name}: onnxruntime-node has no ${value.dtype}`);
  const [type, array] = entry, bytes = payloads[value.payload];
  return new Tensor(type, array ? new array(bytes.buffer) : unpackStrings(bytes), value.shape);
}

function fromTensor(name, tensor, payloads) {
  const dtype = kNames[tensor?.type];
  if (!dtype) throw new Failure('unsupported', `output ${name}: onnxruntime-node gives no ${tensor?.type ?? 'value of this kind'}`);
  const data = tensor.data;
  payloads.push(dtype === 'string' ? packStrings(data) : new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  return { name, value: { dtype, shape: [...tensor.dims], payload: payloads.length - 1 } };
}

// ---- Operations

const kLevels = ['disabled', 'basic', 'extended', 'all'];
let session = null, feeds = {}, fetches = {};

/// "[ONNXRuntimeError] : 9 : NOT_IMPLEMENTED : …" says what kind of error it is.
const kKinds = { NOT_IMPLEMENTED: 'unsupported', INVALID_GRAPH: 'invalid_model', INVALID_PROTOBUF: 'invalid_model', NO_SUCHFILE: 'not_found', INVALID_ARGUMENT: 'invalid_argument' };

function kindOf(error) {
  if (error.kind) return error.kind;
  const text = String(error.message ?? error);
  for (const [word, kind] of Object.entries(kKinds)) if (text.includes(word)) return kind;
  if (/file doesn't exist/i.test(text)) return 'not_found';
  if (/protobuf parsing failed/i.test(text)) return 'invalid_model';
  if (/non.?tensor|Unsupported data type/i.test(text)) return 'unsupported';
  return 'internal';
}

function version() {
  const file = require.resolve('onnxruntime-node').replace(/dist[\\/][^\\/]*$/, 'package.json');
  return JSON.parse(fs.readFileSync(file, 'utf8')).version;
}

function port({ name, isTensor, type, shape, symbolicDimensions }) {
  if (!isTensor) return { name };
  return { name, dtype: kNumbers[type] ?? `onnx ${type}`, shape: shape.map((d, i) => (d >= 0 ? d : symbolicDimensions[i] || '?')) };
}

function load({ model, threads, optimization, dims }) {
  const options = {
    intraOpNumThreads: threads, interOpNumThreads: 1, executionMode: 'sequential', graphOptimizationLevel: kLevels[optimization] ?? 'all',
    ...(Object.keys(dims).length ? { freeDimensionOverrides: dims } : {}),
  };
  const start = performance.now();
  session = new binding.InferenceSession();
  session.loadModel(model, options);
  const loadMs = performance.now() - start;
  fetches = Object.fromEntries(session.outputMetadata.map((m) => [m.name, null]));
  feeds = {};
  writeMessage({ load_ms: loadMs, inputs: session.inputMetadata.map(port), outputs: session.outputMetadata.map(port) });
}

/// The binding's own error names no output.
function refuseNonTensors() {
  const other = session.outputMetadata.find((m) => !m.isTensor);
  if (other) throw new Failure('unsupported', `output ${other.name}: onnxruntime-node gives tensors only`);
}

function run() {
  refuseNonTensors();
  const start = performance.now();
  const outputs = session.run(feeds, fetches, {});
  const ms = performance.now() - start;
  const payloads = [];
  writeMessage({ ms, outputs: Object.keys(fetches).map((name) => fromTensor(name, outputs[name], payloads)) }, payloads);
}

/// ONNX Runtime's threads spin for a while after a run. The next one's figures must not pay for that.
function settle() {
  const sleeper = new Int32Array(new SharedArrayBuffer(4));
  for (let i = 0; i < 50; ++i) {
    const before = process.cpuUsage();
    Atomics.wait(sleeper, 0, 0, 5);
    const used = process.cpuUsage(before);
    if (used.user + used.system < 1000) return;
  }
}

function time({ runs, ms }) {
  refuseNonTensors();
  const samples = [];
  const start = performance.now();
  for (let end = start; samples.length < runs || end - start < ms;) {
    const begin = performance.now();
    session.run(feeds, fetches, {});
    end = performance.now();
    samples.push(end - begin);
  }
  settle();
  writeMessage({}, [new Uint8Array(new Float64Array(samples).buffer)]);
}

function figures() {
  const line = /VmHWM:\s*(\d+) kB/.exec(fs.readFileSync('/proc/self/status', 'utf8'));
  writeMessage({ peak_rss_bytes: line ? 1024 * Number(line[1]) : 1024 * process.resourceUsage().maxRSS });
}

const kOperations = {
  hello: () => writeMessage({ runtime: 'ONNX Runtime', version: version() }),
  load,
  bind: ({ inputs }, payloads) => {
    feeds = Object.fromEntries(inputs.map((input) => [input.name, toTensor(input, payloads)]));
    writeMessage({});
  },
  run, time, figures,
};

env.logLevel = 'error';
initOrt();
for (let message; (message = readMessage()) !== null;) {
  const { op } = message.header;
  if (op === 'exit') break;
  try {
    if (!Object.hasOwn(kOperations, op)) throw new Failure('unsupported', `there is no operation ${op}`);
    if (!session && ['bind', 'run', 'time'].includes(op)) throw new Failure('invalid_argument', `${op} before load`);
    kOperations[op](message.header, message.payloads);
  } catch (error) {
    if (error?.code === 'EPIPE') break;
    writeMessage({ error: { kind: kindOf(error), message: String(error?.message ?? error) } });
  }
}
process.exit(0);
