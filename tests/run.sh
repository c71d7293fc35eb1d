#!/usr/bin/env bash
# Sets up what is missing, builds, and runs every test.
#
#   tests/run.sh [--all] [--no-install]
#
#   --all         also the long tests (every precision through nvcc, large memory), the examples with sanitizers, a
#                 build with clang++, the mutants
#   --no-install  install nothing, say what is missing
#
# The last line is "N passed, N failed"; a build that fails counts as one failed. JOBS=<n> sets the number of jobs.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

all=0 install=()
for argument in "$@"; do
  case $argument in
    --all) all=1 ;;
    --no-install) install+=("$argument") ;;
    -h | --help) sed -n '2,10p' "$0" | cut -c3-; exit 0 ;;
    *) echo "tests/run.sh: unknown option '$argument' (see --help)" >&2; exit 2 ;;
  esac
done
jobs=${JOBS:-$(nproc)}

passed=0 failed=0 skipped=0
finish() {
  trap - EXIT
  [ $skipped -eq 0 ] || echo "$skipped skipped"
  echo "$passed passed, $failed failed"
  [ $failed -eq 0 ] || exit 1
  [ $passed -gt 0 ] || exit 1
  exit 0
}
trap finish EXIT
fail() { # what
  echo "tests/run.sh: $1" >&2
  failed=$((failed + 1))
}
step() { echo; echo "==== $* ($((SECONDS / 60)) min $((SECONDS % 60)) s)"; }

# run <preset> <ctest argument>...: configure, build, test, count
run() {
  local preset=$1 report=$PWD/build/$1/report.xml
  shift
  step "$preset: configure and build"
  if ! cmake --preset "$preset" </dev/null; then
    fail "$preset: CMake failed"
    return
  fi
  # All that can be built is built and tested, whatever else fails.
  cmake --build --preset "$preset" --parallel "$jobs" -- -k 0 </dev/null || fail "$preset: the build failed"
  step "$preset: test"
  rm -f "$report"
  ctest --preset "$preset" --parallel "$jobs" --timeout 900 --output-junit "$report" "$@" </dev/null
  # What did not run was skipped on purpose (it says SKIP_...) or has failed: no program, no fixture.
  local all_here passed_here skipped_here
  all_here=$(grep -cs '^[[:space:]]*<testcase ' "$report")
  passed_here=$(grep -cs '^[[:space:]]*<testcase .* status="run"' "$report")
  skipped_here=$(grep -cs -e '^[[:space:]]*<skipped message="SKIP_' -e '^[[:space:]]*<testcase .* status="disabled"' "$report")
  if [ "${all_here:-0}" -eq 0 ]; then
    fail "$preset: ctest ran nothing"
    return
  fi
  passed=$((passed + passed_here)) skipped=$((skipped + skipped_here))
  failed=$((failed + all_here - passed_here - skipped_here))
}

step "set-up"
if ! cmake/install-deps.sh "${install[@]+"${install[@]}"}" </dev/null; then
  fail "the set-up is not complete"
  exit
fi

if [ $all -eq 1 ]; then run default; else run default --label-exclude '^long$'; fi
if [ $all -eq 0 ]; then
  run sanitize --label-exclude '^long$'
else
  run sanitize-all --label-exclude '^long$'
  if command -v clang++ >/dev/null; then
    run clang
  else
    echo "tests/run.sh: clang++ is not installed; its build is left out"
  fi
  step "mutants: the tests find every planted bug"
  if tests/mutants/run.sh </dev/null; then passed=$((passed + 1)); else fail "a mutant survived"; fi
fi
