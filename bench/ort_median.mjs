// Whether the backend onnxruntime of `tenon bench` measures ONNX Runtime as it is: the same models, inputs and threads timed by a
// plain program around onnxruntime-node, which shares nothing with the runner.
//
//   node bench/ort_median.mjs [--threads N] [--repeat N] [--ms N] [--tenon PATH] FOLDER...
//
// Each folder holds model.onnx and test_data_set_0. In every repetition three measurements take turns, each in a process of its own:
// the package's public API (await session.run), its native binding without the promise, and tenon. What is printed are medians over
// the repetitions of each one's median, tenon's to the faster of the other two, and the same ratio of the fastest runs, which a busy
// machine disturbs least.
import fs from 'node:fs';
import path from 'node:path';
import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..');
const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];

// ---- Test data: TensorProto with raw_data, or with the typed fields

const kArrays = { 1: ['float32', Float32Array], 2: ['uint8', Uint8Array], 3: ['int8', Int8Array], 6: ['int32', Int32Array], 7: ['int64', BigInt64Array],
                  9: ['bool', Uint8Array], 10: ['float16', Uint16Array], 11: ['float64', Float64Array] };

function* fields(buffer) {
  let at = 0;
  const varint = () => {
    let value = 0n;
    for (let shift = 0n;; shift += 7n) {
      const byte = buffer[at++];
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return value;
    }
  };
  while (at < buffer.length) {
    const key = Number(varint()), wire = key & 7;
    if (wire === 0) yield [key >> 3, varint()];
    else {
      const size = wire === 2 ? Number(varint()) : wire === 5 ? 4 : 8;
      yield [key >> 3, buffer.subarray(at, at += size)];
    }
  }
}

function varints(bytes) {
  if (typeof bytes === 'bigint') return [bytes];
  const out = [];
  for (let at = 0; at < bytes.length;) {
    let value = 0n, shift = 0n;
    for (;; shift += 7n) {
      const byte = bytes[at++];
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) break;
    }
    out.push(BigInt.asIntN(64, value));
  }
  return out;
}

function readTensor(file) {
  let type = 0, raw = null;
  const dims = [], integers = [];
  for (const [field, value] of fields(fs.readFileSync(file))) {
    if (field === 1) dims.push(...varints(value).map(Number));
    else if (field === 2) type = Number(value);
    else if (field === 4 || field === 9 || field === 10) raw = value;
    else if (field === 5 || field === 7) integers.push(...varints(value));
  }
  const [name, array] = kArrays[type];
  const data = raw ? new array(new Uint8Array(raw).buffer) : array.from(integers, type === 7 ? (v) => v : Number);
  return { name, data, dims };
}

// ---- One measurement, in a child

async function measure(how, folder, threads, ms) {
  const require = createRequire(path.join(root, 'runners/onnxruntime-node/package.json'));
  const ort = require('onnxruntime-node');
  ort.env.logLevel = 'error';
  const options = { intraOpNumThreads: threads, interOpNumThreads: 1, executionMode: 'sequential', graphOptimizationLevel: 'all' };
  const model = path.join(folder, 'model.onnx');
  const session = await ort.InferenceSession.create(model, options);
  const feeds = Object.fromEntries(session.inputNames.map((name, i) => {
    const { name: type, data, dims } = readTensor(path.join(folder, 'test_data_set_0', `input_${i}.pb`));
    return [name, new ort.Tensor(type, data, dims)];
  }));
  let once = () => session.run(feeds);
  if (how === 'binding') {
    const native = new (require('onnxruntime-node/dist/binding.js').binding.InferenceSession)();
    native.loadModel(model, options);
    const fetches = Object.fromEntries(session.outputNames.map((name) => [name, null]));
    await session.release();
    once = () => native.run(feeds, fetches, {});
  }
  const samples = [];
  for (let start = performance.now(), warm = true; warm || performance.now() - start < ms;) {
    const begin = performance.now();
    if (how === 'api') await once();
    else once();
    samples.push(performance.now() - begin);
    if (warm && performance.now() - start > ms / 4 && samples.length >= 5) {
      warm = false;
      samples.length = 0;
      start = performance.now();
    }
  }
  console.log(JSON.stringify({ p50: median(samples), min: Math.min(...samples) }));
}

function output(command, args) {
  const run = spawnSync(command, args, { encoding: 'utf8', maxBuffer: 1 << 28 });
  if (run.error || run.status !== 0) throw new Error(run.error?.message ?? run.stderr.trim());
  return JSON.parse(run.stdout);
}

// ---- All

function main(argv) {
  const options = { threads: '1', repeat: '5', ms: '1500', tenon: path.join(root, 'build/release/bin/tenon') };
  const folders = [];
  for (let i = 0; i < argv.length; ++i) {
    const name = argv[i].slice(2);
    if (argv[i].startsWith('--') && name in options && argv[i + 1] !== undefined) options[name] = argv[++i];
    else if (argv[i].startsWith('--')) return console.error(`error: unknown option ${argv[i]}: the head of this file says what there is`), 2;
    else folders.push(argv[i]);
  }
  if (!folders.length) return console.error('error: no folder: name one with model.onnx and test_data_set_0'), 2;
  const rounds = String(Math.max(1, Math.round(Number(options.ms) / 100)));
  const kinds = {
    api: (folder) => output(process.execPath, [fileURLToPath(import.meta.url), '--child', 'api', folder, options.threads, options.ms]),
    binding: (folder) => output(process.execPath, [fileURLToPath(import.meta.url), '--child', 'binding', folder, options.threads, options.ms]),
    tenon: (folder) => output(options.tenon, ['bench', folder, '--backend', 'onnxruntime', '--test-data', '--threads', options.threads, '--launches', '1',
                                              '--rounds', rounds, '--json', '-']).results[0].latency_ms,
  };
  console.log(`${'model'.padEnd(28)} ${'api ms'.padStart(9)} ${'binding ms'.padStart(10)} ${'tenon ms'.padStart(9)}  tenon / faster  of fastest runs`);
  for (const folder of folders) {
    const found = { api: [], binding: [], tenon: [] };
    for (let k = 0; k < Number(options.repeat); ++k) {
      const order = Object.keys(kinds);
      for (const kind of k % 2 ? order.reverse() : order) found[kind].push(kinds[kind](folder));
    }
    const [api, binding, tenon] = Object.keys(kinds).map((kind) => median(found[kind].map((one) => one.p50)));
    const least = Object.fromEntries(Object.keys(kinds).map((kind) => [kind, Math.min(...found[kind].map((one) => one.min))]));
    const cell = (value) => value.toFixed(4).padStart(9);
    console.log(`${path.basename(path.resolve(folder)).padEnd(28)} ${cell(api)}  ${cell(binding)} ${cell(tenon)}  ${(tenon / Math.min(api, binding)).toFixed(3).padStart(14)}  ${(least.tenon / Math.min(least.api, least.binding)).toFixed(3)}`);
  }
  return 0;
}

if (process.argv[2] === '--child') {
  const [how, folder, threads, ms] = process.argv.slice(3);
  await measure(how, folder, Number(threads), Number(ms));
} else {
  process.exitCode = main(process.argv.slice(2));
}
