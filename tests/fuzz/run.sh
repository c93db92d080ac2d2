#!/usr/bin/env bash
# tests/fuzz/run.sh [SECONDS] [TARGET...]: builds the fuzzers with clang, addresses and undefined behaviour checked, gathers
# corpora, runs each target for SECONDS (60) and prints executions, crashes, timeouts and memory failures. Exit status 1 when there
# were any. What the fuzzers found and learned stays in build/fuzz/{crashes,corpus}/TARGET. TENON_FUZZ_DATA: folders with more .onnx and .pb files.
set -euo pipefail
cd "$(dirname "$0")/../.."

seconds=${1:-60}
shift || true
build=build/fuzz
data=${TENON_FUZZ_DATA:-/usr/share/libonnx-testdata/data}
largest=20k  # a seed; larger ones make every execution slow

cmake -S . -B $build -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_CXX_COMPILER=clang++-19 -DCMAKE_C_COMPILER=clang-19 \
  -DTENON_FUZZ=ON -DTENON_SANITIZE=address,undefined >/dev/null
nice cmake --build $build --target fuzzers -j "${JOBS:-$(nproc)}"

targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(cd tests/fuzz && ls fuzz_*.cpp | sed 's/\.cpp//')

seed() {  # seed TARGET FIND-EXPRESSION... FOLDER...: copies small files by content into the target's corpus
  local folder=$build/corpus/$1
  mkdir -p "$folder"
  shift
  local pattern=$1
  shift
  find "$@" -name "$pattern" -type f -size -$largest -print0 2>/dev/null |
    while IFS= read -r -d '' file; do cp -n "$file" "$folder/$(sha1sum "$file" | cut -c1-20)"; done || true
}
for target in "${targets[@]}"; do
  # shellcheck disable=SC2086
  case $target in
    fuzz_tir) seed "$target" '*.tir' tests ;;
    fuzz_values)
      seed "$target" '*.pb' $data
      /usr/bin/python3 - "$build/corpus/$target" <<'PYTHON' || true
import sys, numpy
for i, kind in enumerate(["f4", "f8", "i8", "u1", "?", "c8", "f2"]):
    array = numpy.arange(6).reshape(2, 3).astype(kind)
    numpy.save(f"{sys.argv[1]}/npy{i}.npy", array)
    numpy.savez(f"{sys.argv[1]}/npz{i}.npz", x=array, y=numpy.asfortranarray(array))
    numpy.savez_compressed(f"{sys.argv[1]}/npzc{i}.npz", x=array)
PYTHON
      ;;
    *) seed "$target" '*.onnx' $data ;;
  esac
done

failed=0
printf '%-14s %10s %12s %8s %9s %6s\n' target seeds executions crashes timeouts memory
for target in "${targets[@]}"; do
  crashes=$build/crashes/$target
  mkdir -p "$crashes"
  rm -f "$crashes"/*
  seeds=$(find "$build/corpus/$target" -type f | wc -l)
  log=$build/$target.log
  # A failure ends one job; -fork goes on with the others and counts.
  nice "$build/bin/$target" -fork=1 -ignore_crashes=1 -ignore_timeouts=1 -ignore_ooms=1 -timeout=10 -rss_limit_mb=2048 -malloc_limit_mb=2048 \
    -max_total_time="$seconds" -max_len=65536 -artifact_prefix="$crashes/" "$build/corpus/$target" >"$log" 2>&1 || true
  executions=$(grep -oE '^#[0-9]+' "$log" | tr -d '#' | sort -n | tail -1)
  count() { find "$crashes" -name "$1*" | wc -l; }
  printf '%-14s %10s %12s %8s %9s %6s\n' "$target" "$seeds" "${executions:-0}" "$(count crash-)" "$(count timeout-)" "$(count oom-)"
  [ -z "$(ls -A "$crashes")" ] || failed=1
done
exit $failed
