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
# NVIDIA's driver inside a container: its library is there, but not always the file that tells the loader so.
if [ -z "${VK_ADD_DRIVER_FILES:-}${VK_DRIVER_FILES:-}${VK_ICD_FILENAMES:-}" ] && ! ls /etc/vulkan/icd.d/nvidia* /usr/share/vulkan/icd.d/nvidia* > /dev/null 2>&1; then
  library=$(ldconfig -p | grep -o -m 1 '/.*lib\(GLX\|EGL\)_nvidia\.so\.0' || true)
  if [ -n "$library" ]; then
    VK_ADD_DRIVER_FILES=$(mktemp --suffix=.json)
    export VK_ADD_DRIVER_FILES
    printf '{"file_format_version": "1.0.0", "ICD": {"library_path": "%s", "api_version": "1.3.0"}}\n' "$library" > "$VK_ADD_DRIVER_FILES"
  fi
fi
exec python3 bench/gpu.py "$@"
