#!/usr/bin/env bash
# Builds the benchmark of the layer for one GPU, checks it, times it, prints a short table.
#
#   bench/gpu_report.sh [--kokkos-source DIR | --kokkos DIR] [--random123 DIR] [--out DIR] [--work DIR] [--seconds S]
#                       [--no-wgmma] [--tests]
#
#   --kokkos-source DIR  Kokkos as source (CUDA 13 needs 4.7 or newer): built with CUDA, once, in the folder of --work
#   --kokkos DIR         an installed Kokkos that has CUDA, in the place of that
#   --random123 DIR      the folder that holds Random123/philox.h, if the compiler does not find it
#   --out DIR            figures (layers.jsonl, torch.jsonl), what was printed (report.txt), and every log (logs.tar.gz);
#                        nothing else; default build/gpu-report
#   --work DIR           where things are built; default ../switchyard-gpu-work, so that another run is short
#   --seconds S          per figure, default 1.5
#   --no-wgmma           mma.sync in the place of wgmma; ARCH=80 in the environment does the same, for an A100
#   --tests              also the tests of the products and of capture in a graph, on the GPU; some minutes to compile, and
#                        CMake has to find Catch2 3
#
# Fetches nothing. Wants nvcc, cmake, ninja or make, g++, and for the peer a python3 (or PEER_PYTHON) that has PyTorch.
# On 16 cores and an H200 it is meant to take less than 8 minutes; nobody has seen that yet (docs/performance.md).
set -euo pipefail
cd "$(dirname "$0")/.."

source="" installed="" random123="" out=build/gpu-report work=../switchyard-gpu-work seconds=1.5 wgmma=ON tests=OFF
arch=${ARCH:-90}
while [ $# -gt 0 ]; do
  case $1 in
    --kokkos-source) source=$2 && shift ;;
    --kokkos) installed=$2 && shift ;;
    --random123) random123=$2 && shift ;;
    --out) out=$2 && shift ;;
    --work) work=$2 && shift ;;
    --seconds) seconds=$2 && shift ;;
    --no-wgmma) wgmma=OFF ;;
    --tests) tests=ON ;;
    -h | --help) sed -n '2,19p' "$0" | cut -c3-; exit 0 ;;
    *) echo "gpu_report: unknown option '$1' (see --help)" >&2; exit 2 ;;
  esac
  shift
done
say() { printf 'gpu_report: %s (%d s)\n' "$*" "$SECONDS"; }
stop() { echo "gpu_report: $*" >&2; exit 1; }

PATH=$PATH:/usr/local/cuda/bin
for program in nvcc cmake g++; do
  command -v $program >/dev/null || stop "no $program in PATH"
done
command -v ninja >/dev/null || command -v make >/dev/null || stop "neither ninja nor make in PATH"
case $arch in
  80) kokkos_arch=AMPERE80 wgmma=OFF ;;
  90) kokkos_arch=HOPPER90 ;;
  *) stop "ARCH=$arch: 80 or 90" ;;
esac
mkdir -p "$out" "$work"
out=$(cd "$out" && pwd) work=$(cd "$work" && pwd)
generator=()
if command -v ninja >/dev/null; then generator=(-G Ninja); fi
jobs=$(nproc)
logs=$work/logs # rewritten by every run, and packed when it ends, well or not
rm -rf "$logs" && mkdir -p "$logs"
rm -f "$out"/{layers,torch}.jsonl
trap 'tar -C "$work" -czf "$out/logs.tar.gz" logs' EXIT
exec > >(tee "$out/report.txt") 2>&1
not_built() { tail -n 30 "$logs/$1"; stop "$2: $1 in $out/logs.tar.gz"; }

# ---- Kokkos ------------------------------------------------------------------------------------------
wrapper=""
if [ -n "$source" ]; then
  source=$(cd "$source" && pwd) installed=$work/kokkos-$arch wrapper=$work/nvcc_wrapper-$arch
  if [ ! -e "$installed/done" ]; then
    say "building Kokkos of $source"
    # Its own default may be an architecture that nvcc no longer knows.
    sed "s/^default_arch=.*/default_arch=\"sm_$arch\"/" "$source/bin/nvcc_wrapper" >"$wrapper"
    chmod +x "$wrapper"
    cmake -S "$source" -B "$work/kokkos-build-$arch" ${generator[@]+"${generator[@]}"} -DCMAKE_CXX_COMPILER="$wrapper" \
      -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_STANDARD=20 -DCMAKE_INSTALL_PREFIX="$installed" -DKokkos_ENABLE_CUDA=ON \
      -DKokkos_ENABLE_OPENMP=ON -DKokkos_ARCH_$kokkos_arch=ON >"$logs/kokkos.log" 2>&1 ||
      not_built kokkos.log "Kokkos was not configured"
    cmake --build "$work/kokkos-build-$arch" -j "$jobs" --target install >>"$logs/kokkos.log" 2>&1 ||
      not_built kokkos.log "Kokkos was not built (CUDA 13 needs Kokkos 4.7 or newer)"
    touch "$installed/done"
  fi
fi
[ -n "$installed" ] || stop "give --kokkos-source DIR or --kokkos DIR (see --help)"
installed=$(cd "$installed" && pwd)
wrapper=${wrapper:-$installed/bin/nvcc_wrapper}
[ -x "$wrapper" ] || stop "$wrapper is not there"

# ---- the library -------------------------------------------------------------------------------------
say "building"
options=(-DCMAKE_CXX_COMPILER="$wrapper" -DCMAKE_BUILD_TYPE=Release -DCMAKE_PREFIX_PATH="$installed"
  -DSWITCHYARD_ENABLE_MPI=OFF -DSWITCHYARD_ENABLE_ONEDNN=OFF -DSWITCHYARD_ENABLE_BLAS=OFF
  -DSWITCHYARD_ENABLE_WGMMA="$wgmma" -DSWITCHYARD_BUILD_EXAMPLES=OFF -DSWITCHYARD_BUILD_TESTS="$tests"
  -DSWITCHYARD_BUILD_BENCH=ON -DSWITCHYARD_BENCH_GPU_ALONE=ON -DSWITCHYARD_BENCH_FLAGS=-O3)
[ -z "$random123" ] || options+=(-DSWITCHYARD_RANDOM123_DIR="$random123")
targets=(bench_gpu_layer)
[ $tests = OFF ] || targets+=(test_gemm_cuda test_cuda_graph)
cmake -S . -B "$work/library" ${generator[@]+"${generator[@]}"} "${options[@]}" >"$logs/build.log" 2>&1 ||
  not_built build.log "CMake failed"
has() { grep -q "define SWITCHYARD_HAS_$1 1" "$work/library/include/switchyard/config.hpp"; }
has CUBLAS && cublas=yes || cublas="NO, not found: there is no loop of cuBLAS calls, and 8192^3 of known sizes is ours"
has WGMMA && engine="wgmma (sm_90a)" || engine="mma.sync, NOT wgmma"
say "experts' products: $engine; cuBLAS: $cublas"
for target in "${targets[@]}"; do
  cmake --build "$work/library" -j "$jobs" --target "$target" >>"$logs/build.log" 2>&1 ||
    not_built build.log "$target was not built"
done
bench=$work/library/bench/bench_gpu_layer

# ---- right, then fast --------------------------------------------------------------------------------
export OMP_PROC_BIND=false
nvidia-smi --query-gpu=name,clocks.sm,clocks.mem,power.draw --format=csv,noheader 2>/dev/null | tee "$logs/gpu.txt" || true
if [ $tests = ON ]; then
  for test in test_gemm_cuda test_cuda_graph; do
    say "$test"
    "$work/library/tests/$test" >"$logs/$test.txt" 2>&1 || { tail -n 40 "$logs/$test.txt"; stop "$test failed"; }
    tail -n 2 "$logs/$test.txt"
  done
fi
say "small layers, then the checks on results that are spoiled on purpose: every one must notice"
"$bench" --tiny --seconds 0.05 >"$logs/tiny.txt" 2>&1 || { cat "$logs/tiny.txt" >&2; stop "a small layer is wrong"; }
"$bench" --tiny --control >"$logs/control.txt" 2>&1 || { cat "$logs/control.txt" >&2; stop "a check did not notice"; }
say "the layers"
status=0
"$bench" --seconds "$seconds" --json "$out/layers.jsonl" || status=1

peer=${PEER_PYTHON:-python3} peer_status=77
if command -v "$peer" >/dev/null; then
  peer_status=0
  "$peer" bench/peers/torch_grouped.py --seconds "$seconds" >"$out/torch.jsonl" 2>"$logs/torch.log" || peer_status=$?
fi
if [ -s "$out/torch.jsonl" ] && [ -s "$out/layers.jsonl" ]; then # also what it has measured before it failed
  say "beside torch._grouped_mm with permutation"
  "$peer" - "$out" <<'PYTHON'
import json
import sys


def figures(name):
    found = {}
    for line in open(f"{sys.argv[1]}/{name}.jsonl"):
        try:
            r = json.loads(line)
            found[r["name"]] = r
        except ValueError:
            print(f"{name}.jsonl: cut off")
    return found


ours, theirs = figures("layers"), figures("torch")
for name, r in theirs.items():
    mine = ours.get(name.replace("/torch", ""))
    if mine:
        over = r["time_ms"] / mine["time_ms"]
        print(f"{name:34} {r['time_ms']:9.3f} ms  {r['TFLOP/s']:7.1f} TFLOP/s  {over:.2f} times our time")
PYTHON
fi
if [ $peer_status != 0 ]; then
  say "the peer ended with status $peer_status: $(tail -n 1 "$logs/torch.log" 2>/dev/null || echo "no $peer")"
fi
say "figures, report.txt and logs.tar.gz are in $out"
exit $status
