#!/usr/bin/env bash
# Install what Switchyard needs to build and test itself on Debian 12 or 13, or a relative of theirs.
#
#   cmake/install-deps.sh [--no-install] [--yes] [--with-demo] [--with-report] [--with-sentencepiece]
#
# --with-demo: also what examples/demo.sh draws with (gnuplot), and the text that its models learn: the Debian reference
# in German, English, Spanish, French, Italian and Portuguese, 6 MB.
# --with-report: also what bench/report.sh draws and writes its page with (gnuplot, python3).
# --with-sentencepiece: also the tokenizer library that examples/train can use in the place of bytes.
# Nothing is touched where nothing is missing. What is missing is printed before it is installed;
# with --no-install the script stops there (exit status 1 if anything is missing).
# A machine that already has Kokkos >= 4.6 (Kokkos_ROOT or a CMake prefix) keeps its own.
set -euo pipefail

install=1 demo=0 report=0 sentencepiece=0
for argument in "$@"; do
  case $argument in
    --no-install) install=0 ;;
    --yes) ;;
    --with-demo) demo=1 ;;
    --with-report) report=1 ;;
    --with-sentencepiece) sentencepiece=1 ;;
    -h | --help) sed -n '2,12p' "$0" | cut -c3-; exit 0 ;;
    *) echo "install-deps: unknown option '$argument' (see --help)" >&2; exit 2 ;;
  esac
done

export DEBIAN_FRONTEND=noninteractive
root=()
[ "$(id -u)" = 0 ] || root=(sudo env DEBIAN_FRONTEND=noninteractive)

have() { dpkg-query -W -f='${Status}' "$1" 2>/dev/null | grep -q 'ok installed'; }
version_at_least() { # package, version
  have "$1" && dpkg --compare-versions "$(dpkg-query -W -f='${Version}' "$1")" ge "$2"
}
command -v dpkg-query >/dev/null || {
  echo "install-deps: this script knows Debian packages only and changes nothing here. Switchyard needs CMake, Ninja," >&2
  echo "  Kokkos (4.6 or newer, below 6), Random123, and Catch2 3 for its tests; it can use MPI, oneDNN and OpenBLAS." >&2
  exit 0 # CMake says what is missing
}

# ---- what is missing ---------------------------------------------------------------------------
missing=()
need() { have "$1" || missing+=("$1"); }
for package in g++ cmake ninja-build; do need "$package"; done
command -v mpicxx >/dev/null || missing+=(libopenmpi-dev openmpi-bin)
need librandom123-dev
need nlohmann-json3-dev
need libcli11-dev
need libopenblas-openmp-dev
version_at_least catch2 3 || missing+=(catch2)
version_at_least libbenchmark-dev 1.8 || missing+=(libbenchmark-dev)
version_at_least libdnnl-dev 3.4 || missing+=(libdnnl-dev)
if [ $((demo + report)) -gt 0 ]; then command -v gnuplot >/dev/null || missing+=(gnuplot-nox); fi
if [ $demo -eq 1 ]; then for language in de en es fr it pt; do need "debian-reference-$language"; done; fi
if [ $report -eq 1 ]; then command -v python3 >/dev/null || missing+=(python3); fi
[ $sentencepiece -eq 0 ] || need libsentencepiece-dev
kokkos_found() { # where CMake will look, then as a package
  [ -n "${Kokkos_ROOT:-}${Kokkos_DIR:-}" ] && return 0
  local prefixes prefix
  IFS=: read -r -a prefixes <<<"${CMAKE_PREFIX_PATH:-}:/usr/local"
  for prefix in "${prefixes[@]}"; do
    [ -n "$prefix" ] || continue
    compgen -G "$prefix/lib*/cmake/Kokkos/KokkosConfig.cmake" >/dev/null && return 0
  done
  version_at_least libkokkos-dev 4.6
}
kokkos_found || missing+=(libkokkos-dev)

# The Debian package of Kokkos names two archives in its CMake files that it does not ship; both
# parts are header-only, so an empty archive in their place is all that is missing.
empty_archives() {
  have libkokkos-dev || return 0
  local libdir file
  libdir=$(dirname "$(dpkg -L libkokkos-dev | grep -m1 'libkokkoscore\.\(a\|so\)$')")
  for part in algorithms simd; do
    file=$libdir/libkokkos$part.a
    if grep -rqs "libkokkos$part\.a" "$libdir/cmake/Kokkos" && [ ! -e "$file" ]; then echo "$file"; fi
  done
}

if [ ${#missing[@]} -eq 0 ] && [ -z "$(empty_archives)" ]; then
  echo "install-deps: everything is there."
  exit 0
fi
[ ${#missing[@]} -eq 0 ] || echo "install-deps: missing: ${missing[*]}"
if [ $install -eq 0 ]; then
  echo "install-deps: --no-install given, nothing changed."
  exit 1
fi

# ---- where it comes from -----------------------------------------------------------------------
# Kokkos is in Debian unstable only; Catch2 3, oneDNN 3 and benchmark 1.9 are in Debian 13. Further suites
# are derived from this machine's own Debian source, at priorities that upgrade nothing else.
release=$(. /etc/os-release && echo "${VERSION_ID:-}")
sources=/etc/apt/sources.list.d
uri=$(cat /etc/apt/sources.list $sources/*.sources $sources/*.list 2>/dev/null | awk '
  /^URIs:/ { print $2 } /^deb / { for (i = 2; i <= NF; ++i) if ($i ~ /:\/\//) { print $i; break } }' |
  grep -v -e security -e cloud -e node | grep -m1 '/debian/\?$' || true)
if [ ${#root[@]} -gt 0 ] && ! command -v sudo >/dev/null; then
  echo "install-deps: needs root or sudo to install: ${missing[*]}" >&2
  exit 1
fi
[ -n "$uri" ] || { echo "install-deps: no Debian source found in /etc/apt; install by hand: ${missing[*]}" >&2; exit 2; }

suites=()
[ "$release" = 12 ] && suites+=(trixie)
case " ${missing[*]} " in *" libkokkos-dev "*) suites+=(unstable) ;; esac
if [ ${#suites[@]} -gt 0 ]; then
  echo "install-deps: adding the suites '${suites[*]}' of $uri at low priority (switchyard.sources, preferences.d/switchyard)"
  "${root[@]}" tee $sources/switchyard.sources >/dev/null <<SOURCES
Types: deb
URIs: $uri
Suites: ${suites[*]}
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
SOURCES
  "${root[@]}" tee /etc/apt/preferences.d/switchyard >/dev/null <<PINS
Package: *
Pin: release n=sid
Pin-Priority: 50

Package: *
Pin: release n=trixie
Pin-Priority: $([ "$release" = 12 ] && echo 60 || echo 500)

Package: libkokkos*
Pin: release n=sid
Pin-Priority: 600
PINS
fi

# ---- install -----------------------------------------------------------------------------------
# Nothing here asks: packages keep the configuration files that are there, and a busy apt is waited for.
apt_get() {
  "${root[@]}" apt-get -y -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confdef \
    -o Dpkg::Options::=--force-confold "$@" </dev/null
}
# A mirror that lags behind serves an unstable release file older than its week of validity.
apt_get update -o Acquire::Check-Valid-Until=false
here=() newer=()
for package in ${missing[@]+"${missing[@]}"}; do
  case $package in
    catch2 | libbenchmark-dev | libdnnl-dev | libkokkos-dev | libopenblas-openmp-dev | nlohmann-json3-dev) newer+=("$package") ;;
    *) here+=("$package") ;;
  esac
done
[ ${#here[@]} -eq 0 ] || apt_get install --no-install-recommends "${here[@]}"
if [ ${#newer[@]} -gt 0 ]; then
  target=()
  [ "$release" = 12 ] && target=(-t trixie)
  apt_get install --no-install-recommends "${target[@]}" "${newer[@]}"
fi
for file in $(empty_archives); do
  echo "install-deps: $file is named by Kokkos' CMake files but not shipped; making it, empty"
  "${root[@]}" ar rc "$file"
done
echo "install-deps: done."
