#!/usr/bin/env bash
# Builds the benchmarks for this machine, runs them all, draws the plots and writes one page.
#
#   bench/report.sh [--quick] [--no-build] [--build-jobs N]
#
# The page is build/bench-report/report.md, with the plots and every JSON file beside it. --quick: fewer entries and
# rounds. OMP_NUM_THREADS says how many threads, both for the library and for its peers. Plots want gnuplot, the page
# python3 (its standard library); both are left out with a message where they are not there.
# PEER_PYTHON names a python3 that has PyTorch, if the usual one has not. The mesh runs on as many ranks as there are
# threads, under mpirun (MPIRUN names another one).
set -euo pipefail
cd "$(dirname "$0")/.."

quick=() build=1 jobs=$(nproc)
while [ $# -gt 0 ]; do
  case $1 in
    --quick) quick=(--quick) ;;
    --no-build) build=0 ;;
    --build-jobs) jobs=$2 && shift ;;
    -h | --help) sed -n '2,10p' "$0" | cut -c3-; exit 0 ;;
    *) echo "report: unknown option '$1' (see --help)" >&2; exit 2 ;;
  esac
  shift
done
is_quick() { [ ${#quick[@]} -gt 0 ]; }

export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(nproc)} OMP_PROC_BIND=${OMP_PROC_BIND:-false}
out=build/bench-report
rooms=(gemm router dispatch experts combine layer)
say() { printf 'report: %s\n' "$*"; }

if [ $build = 1 ]; then
  say "building (preset bench: -O3 -march=native; preset bench-baseline: as a user of the library gets it)"
  cmake --preset bench >/dev/null
  cmake --build --preset bench -j "$jobs" >/dev/null
  cmake --preset bench-baseline >/dev/null
  cmake --build --preset bench-baseline -j "$jobs" --target bench_layer >/dev/null
fi
native=build/bench/bench baseline=build/bench-baseline/bench
rm -rf "$out"
mkdir -p "$out"

run() { # <name of the JSON> <command> [flags]
  local json=$out/$1.json command=$2
  shift 2
  "$command" "$@" ${quick[@]+"${quick[@]}"} --benchmark_out="$json" --benchmark_out_format=json >"$out/log.txt" 2>&1 || {
    grep -E "ERROR|wrong|rror" "$out/log.txt" | tail -n 10 >&2
    say "$command $* failed" >&2
    exit 1
  }
}

# Ranks that are not bound to a core: one of them works alone with all threads, by turns with all of them.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_hwloc_base_binding_policy=none
on_ranks=("${MPIRUN:-mpirun}" -n "$OMP_NUM_THREADS")

say "the checks, on results that are spoiled on purpose: every one must notice"
for room in "${rooms[@]}"; do
  "$native/bench_$room" --quick --control --benchmark_filter='small|dispatch|combine|router|up/' \
    >"$out/control_$room.txt" 2>&1 || {
    tail -n 30 "$out/control_$room.txt" >&2
    say "bench_$room: a check did not notice" >&2
    exit 1
  }
  tail -n 1 "$out/control_$room.txt"
done

for room in "${rooms[@]}"; do
  say "bench_$room"
  run "$room" "$native/bench_$room"
done

if [ -x "$native/bench_mesh" ] && command -v "${on_ranks[0]}" >/dev/null; then
  say "bench_mesh, $OMP_NUM_THREADS ranks"
  "${on_ranks[@]}" "$native/bench_mesh" --quick --control >"$out/control_mesh.txt" 2>&1 || {
    tail -n 30 "$out/control_mesh.txt" >&2
    say "bench_mesh: a check did not notice" >&2
    exit 1
  }
  run mesh "${on_ranks[@]}" "$native/bench_mesh"
else
  say "bench_mesh: skipped, there is no MPI here"
fi

same=switch_base_32/.*/uniform/iter numbers='(bf16|fp32)'
is_quick && numbers=bf16
say "threads, and the baseline build"
for again in 1 2; do # by turns, as everything
  for ((threads = 1; threads <= OMP_NUM_THREADS; threads *= 2)); do
    OMP_NUM_THREADS=$threads run "threads_${threads}_$again" "$native/bench_layer" --alone \
      --benchmark_filter="layer/forward(_backward)?/$numbers/$same"
  done
done
run baseline "$baseline/bench_layer" --benchmark_filter="layer/forward(_backward)?/$numbers/$same"

# Paired: ours, theirs, ours, theirs, each in a process of its own.
peer=${PEER_PYTHON:-python3}
if command -v "$peer" >/dev/null && "$peer" -c 'import torch' 2>/dev/null; then
  say "peers: PyTorch"
  shapes=M768/F3072/E32/T4096
  is_quick || shapes="M768/F3072/E8/T4096 $shapes M768/F3072/E128/T4096"
  for shape in $shapes; do
    name=switch_base_$(sed 's|.*/E\([0-9]*\)/.*|\1|' <<<"$shape")
    for entry in layer/forward/bf16 layer/forward_backward/bf16 layer/forward/fp32 layer/forward_backward/fp32; do
      if [[ $entry = *fp32 && $shape != */E32/* ]] || { is_quick && [[ $entry = *fp32 ]]; }; then continue; fi
      full=$entry/$name/$shape/uniform
      for pair in 1 2; do
        run "peer_ours_${full//\//_}_$pair" "$native/bench_layer" --alone --benchmark_filter="^$full/iter"
        "$peer" bench/peers/torch_layer.py "$full" >>"$out/torch.jsonl"
      done
    done
  done
else
  say "peers: skipped, there is no PyTorch here (Debian: python3-torch; or PEER_PYTHON=<a python3 that has it>)"
fi

if ! command -v python3 >/dev/null; then
  say "no python3: no page. The figures are in $out/*.json"
  exit 0
fi
python3 bench/report.py "$out"
if command -v gnuplot >/dev/null; then
  (cd "$out" && gnuplot ../../bench/plots.gp)
else
  say "no gnuplot: no plots (Debian: gnuplot-nox)"
fi
say "$out/report.md"
