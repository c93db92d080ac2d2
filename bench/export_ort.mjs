#!/usr/bin/env node
// Whether ONNX Runtime loads what `tenon optimize` writes, and computes the same: every model below the folders (model.onnx with
// test_data_set_0 beside it) is written at each level, loaded, run on the stored inputs and compared with the stored outputs. A model
// that ONNX Runtime cannot load or run as it was is left out and counted; where its results for the original are not the stored
// ones, they are what the comparison is with.
//
//   npm install onnxruntime-node        # anywhere; NODE_PATH names the node_modules folder
//   node bench/export_ort.mjs DIR... [--tenon build/release/bin/tenon] [--levels 1,3] [--opset N] [--verbose] [--keep FOLDER]
//
// Status 1 when a written model does not load or disagrees.

import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { basename, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

// ---- Protobuf: just enough of TensorProto

const decoder = new TextDecoder();

/** Calls field(number, wireType, value) for every field; value is a BigInt or a Buffer. */
function readMessage(buffer, field) {
  let at = 0;
  const varint = () => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = buffer[at++];
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return value;
    }
  };
  while (at < buffer.length) {
    const tag = Number(varint());
    const wire = tag & 7;
    let value;
    if (wire === 0) value = varint();
    else {
      const size = wire === 1 ? 8 : wire === 5 ? 4 : wire === 2 ? Number(varint()) : NaN;
      if (!(at + size <= buffer.length)) throw new Error('not a TensorProto');
      value = buffer.subarray(at, at + size);
      at += size;
    }
    field(tag >> 3, wire, value);
  }
}

function packed(wire, value, list, read) {
  if (wire !== 2) return list.push(read(value));
  if (read.width) {
    for (let at = 0; at < value.length; at += read.width) list.push(read(value.subarray(at, at + read.width)));
    return list.length;
  }
  let number = 0n, shift = 0n;
  for (const byte of value) {
    number |= BigInt(byte & 127) << shift;
    shift += 7n;
    if (byte < 128) (list.push(read(number)), (number = 0n), (shift = 0n));
  }
  return list.length;
}

const fixed = (width, read) => Object.assign(read, { width });
const readFloat = fixed(4, (b) => b.readFloatLE(0)), readDouble = fixed(8, (b) => b.readDoubleLE(0));

// By TensorProto.DataType: ONNX Runtime's name, the array that it takes and how an entry of the typed fields becomes an element.
const asInt = (v) => Number(BigInt.asIntN(64, v));
const kTypes = {
  1: ['float32', Float32Array, Number], 2: ['uint8', Uint8Array, asInt], 3: ['int8', Int8Array, asInt],
  4: ['uint16', Uint16Array, asInt], 5: ['int16', Int16Array, asInt], 6: ['int32', Int32Array, asInt],
  7: ['int64', BigInt64Array, (v) => BigInt.asIntN(64, v)], 8: ['string', Array, (v) => v], 9: ['bool', Uint8Array, asInt],
  10: ['float16', Uint16Array, asInt], 11: ['float64', Float64Array, Number], 12: ['uint32', Uint32Array, asInt],
  13: ['uint64', BigUint64Array, (v) => BigInt.asUintN(64, v)],
};

function readTensor(file) {
  const dims = [], numbers = [], strings = [];
  let type = 0, raw = null;
  readMessage(readFileSync(file), (number, wire, value) => {
    if (number === 1) packed(wire, value, dims, (v) => Number(v));
    else if (number === 2) type = Number(value);
    else if (number === 4) packed(wire, value, numbers, readFloat);
    else if (number === 5 || number === 7 || number === 11) packed(wire, value, numbers, (v) => v);
    else if (number === 6) strings.push(decoder.decode(value));
    else if (number === 9) raw = value;
    else if (number === 10) packed(wire, value, numbers, readDouble);
  });
  if (!kTypes[type]) throw new Error(`element type ${type} cannot be given to onnxruntime-node`);
  const [name, array, convert] = kTypes[type];
  if (name === 'string') return { type: name, dims, data: strings };
  if (raw === null || raw.length === 0) return { type: name, dims, data: array.from(numbers, convert) };
  const copy = new Uint8Array(raw.length);
  copy.set(raw);
  return { type: name, dims, data: new array(copy.buffer) };
}

// ---- One model in ONNX Runtime

function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return exponent ? sign * 2 ** (exponent - 15) * (1 + fraction / 1024) : sign * 2 ** -14 * (fraction / 1024);
}

/** The rule of `tenon verify`: |a - e| <= 1e-4 * largest finite |e| + 1e-3 * |e|; for half precision its epsilon where larger. */
function comparison(actual, expected) {
  const exact = actual.type === 'string' || actual.type === 'bool' || actual.type === 'int64' || actual.type === 'uint64';
  const isHalf = actual.type === 'float16';
  const element = (data, i) => (isHalf && data instanceof Uint16Array ? half(data[i]) : Number(data[i]));
  const isFloat = actual.type.startsWith('float');
  let scale = 0;
  for (let i = 0; !exact && i < expected.data.length; ++i) {
    const e = Math.abs(element(expected.data, i));
    if (Number.isFinite(e)) scale = Math.max(scale, e);
  }
  const rtol = isHalf ? 2 * 2 ** -10 : 1e-3, scaled = isHalf ? 2 ** -10 : 1e-4;
  return (i, j) => {
    if (exact) return actual.data[i] === expected.data[j];
    const a = element(actual.data, i), e = element(expected.data, j);
    return Object.is(a, e) || a === e || (isFloat && Math.abs(a - e) <= scaled * scale + rtol * Math.abs(e));
  };
}

function difference(actual, expected) {
  if (actual.type !== expected.type) return `is ${actual.type}, expected ${expected.type}`;
  if (String(actual.dims) !== String(expected.dims)) return `has the shape [${actual.dims}], expected [${expected.dims}]`;
  const agrees = comparison(actual, expected);
  let bad = 0, first = '';
  for (let i = 0; i < expected.data.length; ++i)
    if (!agrees(i, i) && bad++ === 0) first = `at ${i}: ${actual.data[i]}, expected ${expected.data[i]}`;
  return bad === 0 ? '' : `${bad} of ${expected.data.length} elements differ, first ${first}`;
}

/** As in `tenon verify`: behind scores that never increase, rows that agree in every output may stand in another order. */
function isOtherOrder(actual, expected) {
  const ranking = expected.find((e) => e && e.type.startsWith('float') && e.dims.length > 0 && e.data.every((v, i) => i % e.dims.at(-1) === 0 || v <= e.data[i - 1]));
  const begins = (t) => t && ranking.dims.every((d, axis) => t.dims[axis] === d);
  if (!ranking || !expected.every(begins) || !actual.every(begins)) return false;
  const rows = ranking.data.length, block = ranking.dims.at(-1), widths = expected.map((e) => e.data.length / rows);
  const agree = actual.map((a, i) => comparison(a, expected[i])), taken = new Set();
  const same = (i, j) => agree.every((agrees, output) => Array.from({ length: widths[output] }).every((_, k) => agrees(i * widths[output] + k, j * widths[output] + k)));
  for (let j = 0; j < rows; ++j) {
    const start = j - (j % block), found = Array.from({ length: block }, (_, k) => start + k).find((i) => !taken.has(i) && same(i, j));
    if (found === undefined) return false;
    taken.add(found);
  }
  return true;
}

const sets = (folder) => readdirSync(folder).filter((f) => f.startsWith('test_data_set_')).sort().map((f) => join(folder, f));

function loadRuntime() {
  const require = createRequire(import.meta.url);
  try {
    return require('onnxruntime-node');
  } catch {
    console.error('error: onnxruntime-node is not installed: npm install onnxruntime-node, and name its node_modules folder in NODE_PATH');
    process.exit(2);
  }
}

/** Outputs of every data set as plain tensors; throws what ONNX Runtime throws. */
async function runModel(ort, file, folder) {
  const session = await ort.InferenceSession.create(file, { logSeverityLevel: 4, intraOpNumThreads: 1 });
  const results = [];
  for (const set of sets(folder)) {
    const feeds = {};
    session.inputNames.forEach((name, i) => {
      const input = join(set, `input_${i}.pb`);
      if (!existsSync(input)) return;
      const { type, data, dims } = readTensor(input);
      feeds[name] = new ort.Tensor(type, data, dims);
    });
    // Sequences and maps cannot be fetched.
    const fetched = session.outputNames.filter((_, i) => session.outputMetadata[i].isTensor);
    const outputs = await session.run(feeds, fetched);
    results.push(session.outputNames.map((name) => {
      const value = outputs[name];
      return value && { type: value.type, dims: [...value.dims], data: value.data };
    }));
  }
  return results;
}

/** { status: 'ok' | 'fails' | 'left out', message } for each file; the first is the original. */
async function checkModels(folder, files) {
  const ort = loadRuntime();
  const stored = (set, i) => {
    const file = join(sets(folder)[set], `output_${i}.pb`);
    try {
      return existsSync(file) ? readTensor(file) : null;
    } catch {
      return null;
    }
  };
  let original;
  try {
    original = await runModel(ort, files[0], folder);
  } catch (e) {
    return files.slice(1).map(() => ({ status: 'left out', message: String(e.message ?? e).split('\n')[0] }));
  }
  const wanted = original.map((outputs, set) => outputs.map((output, i) => {
    if (!output) return output;
    const known = stored(set, i);
    return known && difference(output, known) === '' ? known : output;
  }));
  const out = [];
  for (const file of files.slice(1)) {
    if (!existsSync(file)) {
      out.push({ status: 'fails', message: 'was not written' });
      continue;
    }
    try {
      const results = await runModel(ort, file, folder);
      const wrong = results.flatMap((outputs, set) => isOtherOrder(outputs, wanted[set]) ? [] : outputs.map((o, i) => [o ? difference(o, wanted[set][i]) : '', i]).filter(([text]) => text));
      out.push(wrong.length ? { status: 'fails', message: `output ${wrong[0][1]}: ${wrong[0][0]}` } : { status: 'ok', message: '' });
    } catch (e) {
      out.push({ status: 'fails', message: String(e.message ?? e).split('\n')[0] });
    }
  }
  return out;
}

// ---- All models, each in a process of its own: a crash fails alone

function findModels(root) {
  const found = [];
  const visit = (folder) => {
    if (existsSync(join(folder, 'model.onnx')) && sets(folder).length) found.push(folder);
    for (const entry of readdirSync(folder, { withFileTypes: true })) if (entry.isDirectory()) visit(join(folder, entry.name));
  };
  visit(root);
  return found.sort();
}

function main(args) {
  const option = (name, fallback) => {
    const at = args.indexOf(name);
    return at < 0 ? fallback : args.splice(at, 2)[1];
  };
  const tenon = resolve(option('--tenon', join(fileURLToPath(import.meta.url), '../../build/release/bin/tenon')));
  const levels = option('--levels', '1,3').split(',');
  const opset = option('--opset', '');
  const keep = option('--keep', '');
  const verbose = args.includes('--verbose');
  const roots = args.filter((a) => !a.startsWith('--'));
  if (roots.length === 0 || !roots.every((r) => existsSync(r) && statSync(r).isDirectory())) {
    console.error('usage: export_ort.mjs DIR... [--tenon PATH] [--levels 1,3] [--opset N] [--verbose] [--keep FOLDER]');
    process.exit(2);
  }
  loadRuntime();
  const scratch = keep || mkdtempSync(join(tmpdir(), 'tenon-export-'));
  const counts = levels.map(() => ({ ok: 0, fails: 0, 'left out': 0 }));
  let width = 20;
  for (const root of roots) {
    for (const folder of findModels(root)) {
      const name = relative(root, folder) || basename(folder);
      const place = keep ? join(scratch, name) : scratch;
      mkdirSync(place, { recursive: true });
      const errors = [];
      const files = levels.map((level) => {
        const file = join(place, `O${level}.onnx`);
        rmSync(file, { force: true });
        const run = spawnSync(tenon, ['optimize', join(folder, 'model.onnx'), `-O${level}`, ...(opset ? ['--opset', opset] : []), '-o', file]);
        errors.push(run.status === 0 ? '' : `${run.stderr}`.trim().split('\n')[0] || `${run.signal}`);
        return file;
      });
      const child = spawnSync(process.execPath, [fileURLToPath(import.meta.url), '--check', folder, join(folder, 'model.onnx'), ...files],
                              { maxBuffer: 1 << 26, timeout: 600_000 });
      let results;
      try {
        results = JSON.parse(`${child.stdout}`.trim().split('\n').pop());
      } catch {
        results = levels.map(() => ({ status: 'fails', message: `ONNX Runtime ended with ${child.signal ?? child.status}` }));
      }
      width = Math.max(width, name.length);
      results.forEach((r, i) => {
        if (r.status === 'fails' && errors[i]) r.message = errors[i];
        ++counts[i][r.status];
        if (verbose || r.status !== 'ok') console.log(`${name.padEnd(width)}  -O${levels[i]}  ${r.status.padEnd(8)}  ${r.message}`);
      });
    }
  }
  levels.forEach((level, i) => console.log(`-O${level}: ${counts[i].ok} load and agree, ${counts[i].fails} fail, ${counts[i]['left out']} left out`));
  if (!keep) rmSync(scratch, { recursive: true, force: true });
  return counts.some((c) => c.fails > 0) ? 1 : 0;
}

if (process.argv[2] === '--check') {
  const [folder, ...files] = process.argv.slice(3);
  console.log(JSON.stringify(await checkModels(folder, files)));
} else {
  process.exitCode = main(process.argv.slice(2));
}
