#!/bin/bash
# Measures this machine's GPU: installs what building needs, builds, tests the device, and prints tables beside the goals (bench/gpu.py).
#
#   bench/gpu.sh [OUT.md] [--small] [--device D] [--timeout S] [--limit S] [--only kernels|submissions|networks]
#
# The machine needs Debian or Ubuntu, a GPU's driver with Vulkan 1.2, and python3. --small: sizes and times for a software device. TENON names a command to
# use instead of building one.
set -eu
cd "$(dirname "$0")/.."
if [ -z "${TENON:-}" ]; then
  .ci/deps >&2 || echo "gpu.sh: going on with the packages that are there" >&2
  cmake --preset release > /dev/null
  cmake --build --preset release --target tenon
  export TENON=$PWD/build/release/bin/tenon
fi
exec python3 bench/gpu.py "$@"
