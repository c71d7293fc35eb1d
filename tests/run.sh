#!/usr/bin/env bash
# Sets up what is missing, builds, and runs every test.
#
#   tests/run.sh [--all] [--minutes N] [--no-install]
#
#   --all         also the long tests (every precision through nvcc, large memory), the model and the examples with
#                 sanitizers, a build with clang++, the mutants
#   --minutes N   begin no other build after N minutes: what is left out is said and counted as skipped
#   --no-install  install nothing, say what is missing
#
# The last line is "N passed, N failed"; a build that fails counts as one failed. JOBS=<n> sets the number of jobs.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

all=0 minutes=0 install=()
while [ $# -gt 0 ]; do
  case $1 in
    --all) all=1 ;;
    --minutes)
      minutes=${2:-}
      [[ $minutes =~ ^[1-9][0-9]*$ ]] || { echo "tests/run.sh: --minutes wants a number of minutes" >&2; exit 2; }
      shift
      ;;
    --no-install) install+=("$1") ;;
    -h | --help) sed -n '2,11p' "$0" | cut -c3-; exit 0 ;;
    *) echo "tests/run.sh: unknown option '$1' (see --help)" >&2; exit 2 ;;
  esac
  shift
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

late() { # what: is there no time left for it?
  [ $minutes -gt 0 ] && [ $SECONDS -ge $((60 * minutes)) ] || return 1
  echo "tests/run.sh: left out after $((SECONDS / 60)) minutes: $1"
  skipped=$((skipped + 1))
}

# run <preset> <ctest argument>...: configure, build, test, count
run() {
  local preset=$1 report=$PWD/build/$1/report.xml
  shift
  if late "the preset $preset"; then return; fi
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
  if late "the mutants"; then :
  elif tests/mutants/run.sh </dev/null; then passed=$((passed + 1))
  else fail "a mutant survived"
  fi
fi
