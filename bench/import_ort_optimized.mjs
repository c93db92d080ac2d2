// Lets ONNX Runtime write the optimised forms of models and checks that Tenon runs them with the models' test data.
//
//   npm install onnxruntime-node
//   node bench/import_ort_optimized.mjs [--tenon build/release/bin/tenon] [--out FOLDER] [--levels basic,extended,all]
//        [--backend reference,cpu] [--modules FOLDER with node_modules] FOLDER...
//
// FOLDERs are searched for *.onnx beside test_data_set_* folders. For every level the optimised models go to OUT/LEVEL in
// the same tree, with links to their data; what is there already is kept. ONNX Runtime's layouts depend on the processor:
// level `all` blocks channels by 8 or 16. Ends with the counts of a level and status 1 when a model fails.

import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';

function readArguments(argv) {
  const options = { tenon: 'build/release/bin/tenon', out: '', levels: 'basic,extended,all', backend: 'reference,cpu', modules: process.cwd(), folders: [] };
  for (let i = 0; i < argv.length; ++i) {
    const name = argv[i].startsWith('--') ? argv[i].slice(2) : null;
    if (name === null) options.folders.push(path.resolve(argv[i]));
    else if (name in options && name !== 'folders' && i + 1 < argv.length) options[name] = argv[++i];
    else throw new Error(`unknown option ${argv[i]}`);
  }
  if (options.folders.length === 0) throw new Error('give folders with models; the head of this file says how');
  options.out = path.resolve(options.out || fs.mkdtempSync(path.join(os.tmpdir(), 'ort-optimized-')));
  return options;
}

/// Models with test data: { file, data: [folders], place: path below the searched folder }.
function findModels(folders) {
  const models = [];
  for (const root of folders)
    for (const file of fs.readdirSync(root, { recursive: true }).filter((f) => f.endsWith('.onnx')).sort()) {
      const folder = path.join(root, path.dirname(file));
      const data = fs.readdirSync(folder).filter((f) => f.startsWith('test_data_set_')).map((f) => path.join(folder, f));
      if (data.length > 0) models.push({ file: path.join(root, file), data, place: path.join(path.basename(root), path.dirname(file)) });
    }
  return models;
}

/// Runs in a process of its own, because ONNX Runtime may crash.
async function writeOptimised(modules, level, from, to) {
  const { InferenceSession } = createRequire(path.join(path.resolve(modules), 'x.js'))('onnxruntime-node');
  await InferenceSession.create(from, { graphOptimizationLevel: level, optimizedModelFilePath: to, logSeverityLevel: 3, intraOpNumThreads: 1 });
}

function optimise(options, level, model) {
  const folder = path.join(options.out, level, model.place);
  const target = path.join(folder, 'model.onnx');
  if (fs.existsSync(target)) return true;
  fs.mkdirSync(folder, { recursive: true });
  for (const data of model.data) fs.rmSync(path.join(folder, path.basename(data)), { force: true });
  for (const data of model.data) fs.symlinkSync(data, path.join(folder, path.basename(data)));
  const partial = path.join(folder, 'partial.onnx');
  const child = spawnSync(process.execPath, [process.argv[1], '--write', options.modules, level, model.file, partial], { encoding: 'utf8' });
  if (child.status === 0) fs.renameSync(partial, target);
  else {
    fs.rmSync(partial, { force: true });
    console.log(`ONNX Runtime cannot write ${model.file} at level ${level}: ${(child.stderr.trim().split('\n').pop() || child.signal || '').slice(0, 200)}`);
  }
  return child.status === 0;
}

function main() {
  const options = readArguments(process.argv.slice(2));
  const models = findModels(options.folders);
  let failed = false;
  for (const level of options.levels.split(',')) {
    const written = models.filter((model) => optimise(options, level, model)).length;
    const verify = spawnSync(options.tenon, ['verify', path.join(options.out, level), '--backend', options.backend], { encoding: 'utf8', maxBuffer: 1 << 28 });
    if (verify.error) throw verify.error;
    process.stdout.write(`${level}: ONNX Runtime wrote ${written} of ${models.length}\n${verify.stdout}${verify.stderr}`);
    failed = failed || verify.status !== 0;
  }
  console.log(`optimised models are in ${options.out}`);
  process.exitCode = failed ? 1 : 0;
}

if (process.argv[2] === '--write') await writeOptimised(...process.argv.slice(3, 7));
else main();
