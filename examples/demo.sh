#!/usr/bin/env bash
# Sets up what is missing, builds, and runs the main job: a dense T5 and a Switch Transformer of the same work per token
# learn the same real text for the same number of steps, on two MPI ranks, and a page compares them.
#
#   examples/demo.sh [--quick] [--no-install] [--steps N] [--seed N] [--out DIR] [LABEL=FILE | FILE]...
#
#   --quick       few steps: less than a minute, too short for one model to be better
#   --no-install  install nothing, say what is missing
#   --steps N     another number of steps
#   --seed N      another order of the text and other first weights
#   --out DIR     folder of the page (report.html), its numbers (data/) and both runs, out by default; older ones there go
#   --build DIR   programs of a build that is there, in the place of building them
#   FILE...       text to learn; without any, the Debian reference in six languages, from Debian's packages
set -euo pipefail
here=$PWD
cd "$(dirname "$0")/.."

need() { # how many arguments are left, option, pattern of its value, what that is, the value
  if [ "$1" -lt 2 ]; then echo "demo: $2 wants $4 behind it (see --help)" >&2; exit 2; fi
  if ! [[ $5 =~ ^$3$ ]]; then echo "demo: $2 = '$5': must be $4" >&2; exit 2; fi
}
install=(--with-demo) quick=0 steps= seed=1 out=out build= text=()
while [ $# -gt 0 ]; do
  case $1 in
    --quick) quick=1 ;;
    --no-install) install+=("$1") ;;
    --steps) need $# "$1" '[1-9][0-9]{0,8}' "a whole number of at least 1" "${2-}"; steps=$2; shift ;;
    --seed) need $# "$1" '[0-9]{1,18}' "a whole number" "${2-}"; seed=$2; shift ;;
    --out) need $# "$1" '.+' "a folder" "${2-}"; out=$2; shift ;;
    --build)
      need $# "$1" '.+' "a folder" "${2-}"
      build=$(cd "$here" && cd "$2" 2>/dev/null && pwd) || { echo "demo: --build = '$2': there is no such folder" >&2; exit 2; }
      shift
      ;;
    -h | --help) sed -n '2,13p' "$0" | cut -c3-; exit 0 ;;
    -*) echo "demo: unknown option '$1' (see --help)" >&2; exit 2 ;;
    *) text+=("$1") ;;
  esac
  shift
done

mkdir -p build
log=$PWD/build/demo.log
quietly() { # what, command...
  printf '%s ... ' "$1"
  local start=$SECONDS
  if ! "${@:2}" >>"$log" 2>&1 </dev/null; then
    echo "failed, the end of $log:"
    tail -n 30 "$log"
    exit 1
  fi
  echo "$((SECONDS - start)) s"
}
: >"$log"

# ---- the programs ------------------------------------------------------------------------------
if [ -z "$build" ]; then
  cmake/install-deps.sh "${install[@]}"
  build=$PWD/build/demo
  generator=()
  if [ ! -e "$build/CMakeCache.txt" ] && command -v ninja >/dev/null; then generator=(-G Ninja); fi
  quietly "configuring" cmake -S . -B "$build" "${generator[@]+"${generator[@]}"}" -DCMAKE_BUILD_TYPE=Release \
    -DSWITCHYARD_BUILD_TESTS=OFF
  quietly "building (some minutes)" cmake --build "$build" --target train generate report --parallel "${JOBS:-$(nproc)}"
fi
programs=$build/examples

# ---- the text ----------------------------------------------------------------------------------
if [ ${#text[@]} -eq 0 ]; then
  mkdir -p build/text
  for language in de en es fr it pt; do
    book=/usr/share/debian-reference/debian-reference.$language.txt
    file=$PWD/build/text/$language.txt
    if [ -e "$book.gz" ]; then book=$book.gz; elif [ ! -e "$book" ]; then continue; fi
    gzip -cdf "$book" | sed 's/^ *//' | cat -s >"$file" # without indentation: what is easy to guess tells models apart badly
    text+=("$language=$file")
  done
  if [ ${#text[@]} -eq 0 ]; then
    echo "demo: the Debian reference is not installed (packages debian-reference-{de,en,es,fr,it,pt}): name text files" >&2
    exit 1
  fi
fi

# ---- two runs ----------------------------------------------------------------------------------
# Sizes, learning rate and text were chosen by trial: docs/training.md, "The demo".
experts=8 batch=16
width=(--d-ff 256) # d_model 64 and two layers in each stack are the presets'
sparse=(--experts $experts --sparse-every 1 --capacity-factor 2 --sequences-per-group $((batch / 2)))
task=(--length 128 --noise-density 0.5 --mean-span 20 --batch $batch --learning-rate 0.1)
if [ $quick = 1 ]; then steps=${steps:-200} held_out=64; else steps=${steps:-4000} held_out=256; fi
ranks=2
[ "$(nproc)" -ge 2 ] || ranks=1 # two ranks on one core only wait for each other
threads=$(($(nproc) / ranks))
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((threads < 4 ? threads : 4))} OMP_PROC_BIND=${OMP_PROC_BIND:-false}
if [ $ranks -gt 1 ] && ! command -v mpirun >/dev/null; then ranks=1; fi
start=()
if [ $ranks -gt 1 ]; then
  start=(mpirun -n $ranks)
  case "$(mpirun --version 2>&1)" in *"Open MPI"*) start+=(--bind-to none) ;; esac
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 # containers have no other user
fi

cd "$here" # where the user's file names are
rm -rf "$out/dense" "$out/switch" "$out/data" "$out/report.html"
mkdir -p "$out"
task+=(--text "${text[@]}" --steps "$steps" --seed "$seed" --evaluate-every $(((steps + 19) / 20))
  --evaluate-examples $held_out --loads-every $(((steps + 99) / 100)))
progress=lines
if [ -t 1 ]; then progress=bar; fi # mpirun may give a rank a terminal of its own
train() { "${start[@]+"${start[@]}"}" "$programs/train/train" "${task[@]}" --progress $progress "$@"; }
echo
echo "== a dense model, $steps steps"
train --preset tiny-dense "${width[@]}" --name "dense" --out "$out/dense"
echo
echo "== a Switch model: $experts experts in every layer, spread over $ranks rank$([ $ranks = 1 ] || echo s)"
train --preset tiny "${width[@]}" "${sparse[@]}" --name "Switch, $experts experts" --out "$out/switch"

# ---- what they write, and the page -------------------------------------------------------------
echo
gaps=("For the details, please read the documentation in the directory ___ or the manual page of the command."
  "Sie können das Paket mit dem folgenden ___ installieren und danach die Dokumentation lesen."
  "Le fichier de configuration de ___ se trouve dans le répertoire /etc du système de fichiers."
  "Il sistema di gestione dei pacchetti ___ permette di installare i programmi da internet.")
for run in dense switch; do
  quietly "asking the $run model" "$programs/generate/generate" --run "$out/$run" --length 20 \
    --temperature 0.6 --json "$out/$run/samples.json" "${gaps[@]}"
done
echo
"$programs/report/report" --dense "$out/dense" --switch "$out/switch" --out "$out"
