#!/usr/bin/env bash
# Plants one bug after another into a copy of the library and runs the tests on it: every bug must be found.
#
#   tests/mutants/run.sh [NAME...]     all mutants of mutants.list, or those named
#
# Exit status 1 if a mutant survives, or no longer applies. About 40 s each; nothing of the checkout is touched. Half of it with
# SWITCHYARD_MUTANT_PRECISIONS='uniform<double>', where a mutant is not about rounding.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=${SWITCHYARD_MUTANT_DIR:-$root/build/mutants}
mkdir -p "$work"

rm -rf "$work/source" "$work/pristine" "$work/build" # an interrupted run leaves a mutant behind
mkdir -p "$work/source"
(cd "$root" && tar c --exclude=./build --exclude=./.git .) | tar x -C "$work/source"
cp -r "$work/source/include/switchyard" "$work/pristine"
sed -i 's/-Werror>/-w>/' "$work/source/cmake/own_targets.cmake" # a mutant may leave a parameter unused

tests_for() { # the mesh and the layouts are tested on ranks; products have tests of their own that take a while to build
  case $1 in
  layout-*) echo "mpi_layouts" ;;
  threads-*) echo "threads" ;;
  checkpoint-*) echo "checkpoint" ;;
  warp-*) echo "warp_kernels" ;;
  model-*) echo "mpi_models" ;;
  axis-*:train/*) echo "mpi_train_axis" ;;
  axis-*) echo "mpi_model_axis" ;;
  exchange-*) echo "mpi_exchanges" ;;
  device-*) echo "mpi_device_memory" ;;
  *:mesh/*) echo "mpi_tensors mpi_communicators" ;;
  *:model/* | *:layer/dense_layer.hpp) echo "model" ;;
  *:train/*) echo "train" ;;
  *:gemm/detail/tensor_* | *:gemm/detail/library_calls.hpp) echo "gemm_tensor" ;;
  *:gemm/detail/avx512_*) echo "gemm_avx512" ;;
  *:gemm/detail/avx2_*) echo "gemm_avx2" ;;
  *:gemm/detail/portable_*) echo "gemm_portable properties gradients unit" ;;
  *:gemm/*) echo "gemm_avx2 gemm_portable properties gradients unit" ;;
  *) echo "properties gradients unit" ;; # what is quickest to build first
  esac
}
builds() { # <test>
  cmake --build "$work/build" --parallel "${SWITCHYARD_JOBS:-2}" --target "test_$1" >"$work/log" 2>&1
}
passes() { # <test>: stops at the first check that fails
  local run=(timeout 300)
  case $1 in
  mpi_*) run=(timeout 120 "$mpiexec" $mpi_flags -n 4) ;;
  threads) # its bytes are compared between runs
    OMP_PROC_BIND=false cmake -D "PROGRAM=$work/build/tests/test_threads" -P "$root/tests/properties/compare_threads.cmake" \
      >>"$work/log" 2>&1
    return
    ;;
  esac
  OMP_NUM_THREADS=1 OMP_PROC_BIND=false OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 \
    "${run[@]}" "$work/build/tests/test_$1" --abort >>"$work/log" 2>&1 </dev/null
}
verdict() { # of the tests, built and run one by one until one fails
  local test
  for test in $tests; do
    builds "$test" || { echo "does not compile"; return; }
    passes "$test" || { echo killed; return; }
  done
  echo SURVIVED
}
cmake -S "$work/source" -B "$work/build" -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_FLAGS_RELEASE=-O1 \
  "-DSWITCHYARD_TEST_PRECISIONS=${SWITCHYARD_MUTANT_PRECISIONS:-uniform<double>;selective<bfloat16>}" -DSWITCHYARD_BUILD_EXAMPLES=OFF \
  -DSWITCHYARD_ENABLE_ONEDNN=OFF -DSWITCHYARD_ENABLE_BLAS=OFF >"$work/log" 2>&1
mpiexec=$(sed -n 's/^MPIEXEC_EXECUTABLE:FILEPATH=//p' "$work/build/CMakeCache.txt")
mpi_flags=$("$mpiexec" --version 2>/dev/null | grep -qE "Open MPI|OpenRTE" && echo --oversubscribe || true)
declare -A sound # sets of tests that pass without any mutant

killed=0 survived=()
while IFS='|' read -r name file from to _; do
  case $name in '' | '#'*) continue ;; esac
  if [ $# -gt 0 ] && ! [[ " $* " == *" $name "* ]]; then continue; fi
  from=${from//¦/|} to=${to//¦/|} # the list writes ¦ for |
  target=$work/source/include/switchyard/$file
  tests=$(tests_for "$name:$file")
  if [[ $tests == *mpi* && -z $mpiexec ]]; then
    echo "$name: skipped, no MPI"
    continue
  fi
  case $file in */avx512_* | */avx2_*)
    instructions=${file##*/} && instructions=${instructions%%_*}
    if ! grep -qw "${instructions/512/512bw}" /proc/cpuinfo; then
      echo "$name: skipped, no $instructions"
      continue
    fi
    ;;
  esac
  if [ -z "${sound[$tests]:-}" ]; then
    if [ "$(verdict)" != SURVIVED ]; then
      echo "mutants: the tests fail without any mutant, see $work/log" >&2
      exit 1
    fi
    sound[$tests]=yes
  fi
  times=$(from=$from perl -0777 -ne 'my $n = () = /\Q$ENV{from}\E/g; print $n' "$target")
  if [ "$times" != 1 ]; then
    echo "$name: its text occurs $times times in $file, it must occur once"
    survived+=("$name")
    continue
  fi
  from=$from to=$to perl -0777 -pi -e 's/\Q$ENV{from}\E/$ENV{to}/' "$target"
  result=$(verdict)
  echo "$name: $result"
  if [ "$result" = killed ]; then killed=$((killed + 1)); else survived+=("$name"); fi
  cp "$work/pristine/$file" "$target"
done <"$here/mutants.list"

echo "$killed passed, ${#survived[@]} failed"
[ ${#survived[@]} -eq 0 ]
