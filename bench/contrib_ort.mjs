#!/usr/bin/env node
// Whether Tenon computes ONNX Runtime's own operators as ONNX Runtime does: models of one node with random attributes, shapes and
// optional inputs are run there on the CPU, and `tenon verify` compares with what came out. Cases that ONNX Runtime refuses (by far
// most of these operators are checked for what they accept by nothing else) are left out and counted.
//
//   npm install onnxruntime-node        # anywhere; NODE_PATH names the node_modules folder
//   node bench/contrib_ort.mjs [--tenon build/release/bin/tenon] [--ops Attention,QLinearAdd] [--cases 20] [--seed 1]
//        [--backend reference,cpu] [--keep FOLDER] [--verbose]
//
// Integers that stand for reals may differ by one step, where ONNX Runtime rounds another way. Status 1 when a case disagrees.

import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { caseOf, opNames } from './contrib_ort_cases.mjs';

// ---- Protobuf: just enough of ModelProto and TensorProto

const bytes = (...parts) => Buffer.concat(parts);
function varint(value) {
  const out = [];
  for (let v = BigInt.asUintN(64, BigInt(value)); ; v >>= 7n) {
    if (v < 128n) return Buffer.from([...out, Number(v)]);
    out.push(Number(v & 127n) | 128);
  }
}
const integer = (field, value) => bytes(varint(field << 3), varint(value));
const block = (field, value) => bytes(varint((field << 3) | 2), varint(value.length), value);
const text = (field, value) => block(field, Buffer.from(value));
const float = (field, value) => bytes(varint((field << 3) | 5), Buffer.from(new Float32Array([value]).buffer));

const kCodes = { float32: 1, uint8: 2, int8: 3, int32: 6, int64: 7, string: 8, bool: 9, float16: 10, float64: 11, uint32: 12, uint64: 13, uint4: 21, int4: 22 };

function tensorProto({ type, dims, data }, name) {
  const raw = type === 'string' ? data.map((s) => text(6, s)) : [block(9, Buffer.from(data.buffer, data.byteOffset, data.byteLength))];
  return bytes(...dims.map((d) => integer(1, d)), integer(2, kCodes[type]), ...raw, ...(name ? [text(8, name)] : []));
}

function attribute(name, value) {
  const kind = (type) => integer(20, type);
  if (value.ints) return bytes(text(1, name), ...value.ints.map((v) => integer(8, v)), kind(7));
  if (value.floats) return bytes(text(1, name), ...value.floats.map((v) => float(7, v)), kind(6));
  if (typeof value === 'string') return bytes(text(1, name), text(4, value), kind(3));
  if (value.float !== undefined) return bytes(text(1, name), float(2, value.float), kind(1));
  return bytes(text(1, name), integer(3, value), kind(2));
}

function valueInfo(name, type, dims) {
  const shape = dims ? [block(2, bytes(...dims.map((d) => block(1, integer(1, d)))))] : [];
  return bytes(text(1, name), block(2, block(1, bytes(integer(1, kCodes[type]), ...shape))));
}

/// Inputs that are `fixed` are initializers.
function modelProto(one) {
  const name = (i) => `x${i}`;
  const inputs = one.inputs.map((t, i) => (t ? name(i) : ''));
  while (inputs.length && !inputs.at(-1)) inputs.pop();
  const node = bytes(...inputs.map((n) => text(1, n)), ...one.outputs.map((type, i) => text(2, type ? `y${i}` : '')), text(3, 'node'), text(4, one.op),
                     ...Object.entries(one.attrs).map(([key, value]) => block(5, attribute(key, value))), text(7, one.domain));
  const graph = bytes(block(1, node), text(2, 'one'),
                      ...one.inputs.flatMap((t, i) => (t && t.fixed ? [block(5, tensorProto(t, name(i)))] : [])),
                      ...one.inputs.flatMap((t, i) => (t && !t.fixed ? [block(11, valueInfo(name(i), t.type, t.dims))] : [])),
                      ...one.outputs.flatMap((type, i) => (type ? [block(12, valueInfo(`y${i}`, type))] : [])));
  const opset = (domain, version) => block(8, bytes(text(1, domain), integer(2, version)));
  return bytes(integer(1, 10), block(7, graph), opset('', one.opset), ...(one.domain ? [opset(one.domain, 1)] : []));
}

// ---- ONNX Runtime, in a process of its own because it may crash

function loadRuntime() {
  try {
    return createRequire(import.meta.url)('onnxruntime-node');
  } catch {
    console.error('error: onnxruntime-node is not installed: npm install onnxruntime-node, and name its node_modules folder in NODE_PATH');
    process.exit(2);
  }
}

async function writeCase(ort, one, folder) {
  const data = path.join(folder, 'test_data_set_0');
  const model = modelProto(one);
  // Fused and rewritten, it would not be the operator that runs.
  const session = await ort.InferenceSession.create(model, { logSeverityLevel: 4, intraOpNumThreads: 1, graphOptimizationLevel: 'disabled' });
  const given = one.inputs.map((t, i) => [t, `x${i}`]).filter(([t]) => t && !t.fixed);
  const outputs = await session.run(Object.fromEntries(given.map(([t, name]) => [name, new ort.Tensor(t.type, t.data, t.dims)])));
  fs.mkdirSync(data, { recursive: true });
  fs.writeFileSync(path.join(folder, 'model.onnx'), model);
  given.forEach(([t, name], i) => fs.writeFileSync(path.join(data, `input_${i}.pb`), tensorProto(t, name)));
  session.outputNames.forEach((name, i) => fs.writeFileSync(path.join(data, `output_${i}.pb`), tensorProto(outputs[name], name)));
}

async function child(folder, seed, count, from, ops) {
  const ort = loadRuntime();
  const jobs = ops.flatMap((op) => Array.from({ length: count }, (_, i) => [op, i]));
  for (let at = from; at < jobs.length; ++at) {
    const [op, i] = jobs[at];
    const one = caseOf(op, seed * 100003 + i);
    fs.writeSync(1, `${JSON.stringify({ at })}\n`);
    let refused = '';
    try {
      await writeCase(ort, one, path.join(folder, one.quantised ? 'quantised' : 'exact', op, `${i}`));
    } catch (e) {
      refused = String(e.message ?? e).split('\n')[0];
    }
    fs.writeSync(1, `${JSON.stringify({ at, op, refused, attrs: one.attrs })}\n`);
  }
}

// ---- All

function verify(options, folder, tolerance) {
  if (!fs.existsSync(folder)) return [];
  const run = spawnSync(options.tenon, ['verify', folder, '--backend', options.backend, '--round-off', '0', '--json', '-', ...tolerance], { encoding: 'utf8', maxBuffer: 1 << 28 });
  if (run.error || !run.stdout.trim()) throw run.error ?? new Error(run.stderr);
  return JSON.parse(run.stdout).cases;
}

function main(argv) {
  const options = { tenon: path.join(path.dirname(fileURLToPath(import.meta.url)), '../build/release/bin/tenon'), ops: opNames.join(','), cases: '20', seed: '1', backend: 'reference,cpu', keep: '' };
  const verbose = argv.includes('--verbose');
  const rest = argv.filter((a) => a !== '--verbose');
  for (let i = 0; i < rest.length; i += 2) {
    const name = rest[i].slice(2);
    if (!rest[i].startsWith('--') || !(name in options) || rest[i + 1] === undefined) {
      console.error(`error: unknown option ${rest[i]}: the head of this file says what there is`);
      process.exit(2);
    }
    options[name] = rest[i + 1];
  }
  const ops = options.ops.split(',');
  const unknown = ops.filter((op) => !opNames.includes(op));
  if (unknown.length) {
    console.error(`error: no cases of ${unknown}: there are ${opNames.join(', ')}`);
    process.exit(2);
  }
  const folder = options.keep || fs.mkdtempSync(path.join(os.tmpdir(), 'tenon-contrib-'));
  const counts = Object.fromEntries(ops.map((op) => [op, { ran: 0, refused: new Map(), wrong: 0 }]));
  const total = ops.length * Number(options.cases);
  for (let from = 0; from < total;) {
    const run = spawnSync(process.execPath, [fileURLToPath(import.meta.url), '--child', folder, options.seed, options.cases, `${from}`, ops.join(',')], { encoding: 'utf8', maxBuffer: 1 << 28 });
    if (run.status === 2) process.exit((console.error(run.stderr.trim()), 2));
    let last = from - 1;
    for (const line of run.stdout.trim().split('\n')) {
      if (!line.startsWith('{')) continue;
      const { at, op, refused, attrs } = JSON.parse(line);
      last = at;
      if (op === undefined) continue;
      if (refused) counts[op].refused.set(refused, { count: (counts[op].refused.get(refused)?.count ?? 0) + 1, attrs });
      else ++counts[op].ran;
    }
    if (last + 1 < total) {
      const op = ops[Math.floor(last / Number(options.cases))] ?? ops[0];
      const message = `ended with ${run.signal ?? run.status}`;
      counts[op].refused.set(message, { count: (counts[op].refused.get(message)?.count ?? 0) + 1, attrs: {} });
    }
    from = last + 1 > from ? last + 1 : from + 1;
  }
  const results = [...verify(options, path.join(folder, 'exact'), []).map((c) => ({ ...c, place: 'exact' })),
                   ...verify(options, path.join(folder, 'quantised'), ['--atol', '1', '--scaled-atol', '1e-4']).map((c) => ({ ...c, place: 'quantised' }))];
  for (const one of results) {
    if (one.status === 'passed') continue;
    const op = one.name.split('/')[0];
    ++counts[op].wrong;
    console.log(`FAIL  ${one.place}/${one.name} on ${one.backend}: ${one.message.split('\n')[0]}`);
  }
  const backends = options.backend.split(',').length;
  for (const [op, { ran, refused, wrong }] of Object.entries(counts)) {
    const left = [...refused.values()].reduce((sum, r) => sum + r.count, 0);
    console.log(`${op.padEnd(32)} ${ran * backends - wrong} of ${ran * backends} agree${left ? `, ${left} refused by ONNX Runtime` : ''}`);
    if (verbose) for (const [message, { count, attrs }] of refused) console.log(`    ${count} x ${message.slice(0, 300)} ${JSON.stringify(attrs)}`);
  }
  if (!options.keep) fs.rmSync(folder, { recursive: true, force: true });
  return results.some((r) => r.status !== 'passed') ? 1 : 0;
}

if (process.argv[2] === '--child') {
  const [folder, seed, count, from, ops] = process.argv.slice(3);
  await child(folder, Number(seed), Number(count), Number(from), ops.split(','));
} else {
  process.exitCode = main(process.argv.slice(2));
}
