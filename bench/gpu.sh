#!/bin/bash
# Fills the table of throughputs on the Vulkan device of this machine: builds, tests the device, measures small generated models.
#
#   bench/gpu.sh [OUT.md]           the table also goes to OUT.md
#
# It needs python3. TENON: the command to use, instead of building one. TENON_VULKAN_DEVICE: the device. SCALE: divides the sizes (4: for small devices).
# DRY_RUN=1: prints the models instead of measuring.
set -eu
cd "$(dirname "$0")/.."
out=${1:-/dev/null}
scale=${SCALE:-1}
if [ -z "${TENON:-}" ]; then
  cmake --preset release > /dev/null
  cmake --build --preset release --target tenon
  TENON=build/release/bin/tenon
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# model NAME: a graph from standard input
model() { cat > "$work/$1.tir"; }

# median NAME: milliseconds of a run, by the device's own clock where only one kernel runs: inputs are not part of it
median() {
  if [ -n "${DRY_RUN:-}" ]; then cat "$work/$1.tir" >&2; echo 1; return; fi
  "$TENON" profile "$work/$1.tir" --backend vulkan --json "$work/$1.json" > "$work/$1.log" 2>&1 || { sed 's/^/  /' "$work/$1.log" >&2; echo nan; return; }
  kernel_ms "$work/$1.json"
}

# The sum of the kernels' times in a profile.
kernel_ms() {
  python3 - "$1" <<'PY'
import json, sys
profile = json.load(open(sys.argv[1]))
print(sum(k.get("ms", k.get("time_ms", 0)) for k in profile["kernels"] if k.get("kind", "dispatch") != "host"))
PY
}

# row WORK FIGURE UNIT FIRST TARGET
row() { printf '| %s | %s %s | %s | %s |\n' "$@" | tee -a "$work/table"; }
# figure MS AMOUNT: AMOUNT (in units of 1e9 a second) over the time
figure() { awk -v ms="$1" -v amount="$2" 'BEGIN { if (ms + 0 > 0) printf "%.4g", amount / (ms * 1e6); else printf "-" }'; }

[ -n "${DRY_RUN:-}" ] || "$TENON" devices --self-test --device "${TENON_VULKAN_DEVICE:-}" > "$work/self-test" || { cat "$work/self-test"; echo "the self-test failed: figures below may be of wrong results" >&2; }

{
  echo "| work | measured | first goal | target |"
  echo "|---|---|---|---|"
} | tee "$work/table"

n=$((67108864 / scale))
model copy << TIR
graph "copy" { input %x: f32[$n]
  %y: f32[$n] = Neg(%x)
  output %y }
TIR
row "elementwise, $((n * 4 / 1048576)) MiB" "$(figure "$(median copy)" $((n * 8)))" GB/s "80 % of bandwidth" "92 %"

rows=$((16384 / scale))
model softmax << TIR
graph "softmax" { input %x: f32[$rows, 4096]
  %y: f32[$rows, 4096] = Softmax(%x) {axis = -1}
  output %y }
TIR
row "softmax $rows x 4096" "$(figure "$(median softmax)" $((rows * 4096 * 8)))" GB/s "70 %" "85 %"

model layernorm << TIR
graph "layernorm" { input %x: f32[$rows, 4096]
  input %s: f32[4096]
  input %b: f32[4096]
  %y: f32[$rows, 4096] = LayerNormalization(%x, %s, %b) {axis = -1}
  output %y }
TIR
row "layer norm $rows x 4096" "$(figure "$(median layernorm)" $((rows * 4096 * 8)))" GB/s "70 %" "85 %"

model transpose << TIR
graph "transpose" { input %x: f32[$rows, 4096]
  %y: f32[4096, $rows] = Transpose(%x) {perm = [1, 0]}
  output %y }
TIR
row "transpose $rows x 4096" "$(figure "$(median transpose)" $((rows * 4096 * 8)))" GB/s "55 %" "75 %"

k=$((16384 / scale))
model matvec << TIR
graph "matvec" { input %x: f16[1, $k]
  input %w: f16[$k, $k]
  %y: f16[1, $k] = MatMul(%x, %w)
  output %y }
TIR
row "matrix-vector f16 $k" "$(figure "$(median matvec)" $((k * k * 2)))" GB/s "80 %" "92 %"

for dtype in f32 f16; do
  m=$((8192 / scale))
  model gemm_$dtype << TIR
graph "gemm" { input %a: ${dtype}[$m, $m]
  input %b: ${dtype}[$m, $m]
  %y: ${dtype}[$m, $m] = MatMul(%a, %b)
  output %y }
TIR
  first="50 % of peak" target="46 TFLOP/s"
  [ $dtype = f16 ] && first="250 TFLOP/s" target="450 TFLOP/s"
  row "GEMM $dtype $m" "$(figure "$(median gemm_$dtype)" $((2 * m * m * m / 1000)))" TFLOP/s "$first" "$target"
done

batch=$((32 / scale > 0 ? 32 / scale : 1))
model conv << TIR
graph "conv" { input %x: f16[$batch, 256, 56, 56]
  input %w: f16[256, 256, 3, 3]
  %y: f16[$batch, 256, 56, 56] = Conv(%x, %w) {pads = [1, 1, 1, 1], kernel_shape = [3, 3]}
  output %y }
TIR
row "convolution f16 3x3, 256 channels" "$(figure "$(median conv)" $((2 * batch * 256 * 56 * 56 * 256 * 9 / 1000)))" TFLOP/s "50 % of GEMM" "75 %"

length=$((4096 / scale))
model attention << TIR
graph "attention" { input %q: f16[1, 16, $length, 128]
  input %k: f16[1, 16, $length, 128]
  input %v: f16[1, 16, $length, 128]
  %y: f16[1, 16, $length, 128] = Attention(%q, %k, %v)
  output %y }
TIR
row "attention f16, 16 heads, $length x 128" "$(figure "$(median attention)" $((4 * 16 * length * length * 128 / 1000)))" TFLOP/s "120 TFLOP/s" "250 TFLOP/s"

# Dispatches that do next to nothing: what one more costs in a replayed recording, and what a run costs at least.
chain() {
  echo 'graph "chain" { input %x: f32[64]'
  local last=x
  for i in $(seq 1 "$1"); do
    echo "  %a$i: f32[64] = CumSum(%$last, %axis)"
    last=a$i
  done | sed "1i\\  %axis: i64[] = Constant {value = dense<i64[], 0>}"
  echo "  output %a$1 }"
}
run_ms() {
  if [ -n "${DRY_RUN:-}" ]; then echo 1; return; fi
  "$TENON" bench "$work/$1.tir" --backend vulkan --rounds 10 --launches 2 --json "$work/$1.json" > /dev/null 2>&1 || { echo nan; return; }
  python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["results"][0]["latency_ms"]["p50"])' "$work/$1.json"
}
chain 1 | model chain1
chain 201 | model chain201
one=$(run_ms chain1) many=$(run_ms chain201)
row "a run of one dispatch" "$(awk -v a="$one" 'BEGIN { printf "%.4g", a * 1000 }')" us "40 us" "20 us"
row "one more dispatch" "$(awk -v a="$one" -v b="$many" 'BEGIN { printf "%.4g", (b - a) * 1000 / 200 }')" us "5 us" "3 us"

{
  echo "# $("$TENON" --version) on a GPU"
  echo
  "$TENON" devices | sed 's/^/    /'
  echo
  sed -n '$p' "$work/self-test" 2> /dev/null | sed 's/^/    /' || true
  cat "$work/table"
} > "$out"
