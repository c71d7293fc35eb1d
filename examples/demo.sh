#!/usr/bin/env bash
# Sets up what is missing, builds, and runs the main job: a Switch layer routes the tokens of a real text, forward and
# backward, and says where they went.
#
#   examples/demo.sh [--no-install] [FILE...] [OPTION...]
#
#   --no-install  install nothing, say what is missing
#   FILE...       text files; without any, the licences and copyright notices of a Debian machine
#   OPTION...     of the program, for example --experts 16 --steps 100 (build/demo/examples/02_route_text --help)
set -euo pipefail
here=$PWD
cd "$(dirname "$0")/.."

install=() arguments=()
for argument in "$@"; do
  case $argument in
    --no-install) install+=("$argument") ;;
    -h | --help) sed -n '2,9p' "$0" | cut -c3-; exit 0 ;;
    *) arguments+=("$argument") ;;
  esac
done

build=build/demo log=build/demo.log
mkdir -p build
quietly() { # what, command...
  printf '%s ... ' "$1"
  local start=$SECONDS
  if ! "${@:2}" >>$log 2>&1 </dev/null; then
    echo "failed, the end of $log:"
    tail -n 30 $log
    exit 1
  fi
  echo "$((SECONDS - start)) s"
}
: >$log

cmake/install-deps.sh "${install[@]+"${install[@]}"}"
generator=()
if [ ! -e $build/CMakeCache.txt ] && command -v ninja >/dev/null; then generator=(-G Ninja); fi
quietly "configuring" cmake -S . -B $build "${generator[@]+"${generator[@]}"}" -DCMAKE_BUILD_TYPE=Release \
  -DSWITCHYARD_BUILD_TESTS=OFF
quietly "building" cmake --build $build --target 02_route_text --parallel "${JOBS:-$(nproc)}"
echo
program=$PWD/$build/examples/02_route_text
cd "$here" # where the user's file names are
OMP_PROC_BIND=${OMP_PROC_BIND:-false} exec "$program" "${arguments[@]+"${arguments[@]}"}"
