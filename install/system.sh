#!/usr/bin/env bash
# Installs what a bare pod lacks for building and running the models: as few system packages as possible.
set -euo pipefail

usage() {
  cat <<'HELP'
Usage: install/system.sh [--dry-run] [--help]

Looks for each program and library that admlops needs from the system and installs the Debian or Ubuntu package of
those that are missing. Only root can do that, and only where there is apt-get; elsewhere it prints what to install and
ends with 1. Compilers, CUDA and Python of the models are not among them: their environments bring their own.

  --dry-run   only say what is missing
  --help      this text

Example:
  ./install/system.sh --dry-run
HELP
}

dry_run=no
log=
missing=()

fail() { # message, what to type next
  printf 'system: %s\n  → %s\n' "$1" "$2" >&2
  exit "${3:-2}"
}

say() { printf 'system: %s\n' "$1"; }

parse() {
  local argument
  for argument in "$@"; do
    case $argument in
      --dry-run) dry_run=yes ;;
      --help | -h) usage && exit 0 ;;
      *) fail "unknown option $argument" "./install/system.sh --help" ;;
    esac
  done
}

need() { # package, why; the check's outcome is the last status
  missing+=("$1")
  say "missing: $1 ($2)"
}

# Not `ldconfig -p | grep -q`: grep stops reading at its first match, and under pipefail ldconfig's broken pipe is a "no".
has_library() { [[ $(ldconfig -p 2>/dev/null) == *"$1"* ]]; }

has_python() {
  local candidate
  for candidate in ${PYTHON:+"$PYTHON"} python3 python3.15 python3.14 python3.13 python3.12 python3.11; do
    "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && return
  done
  return 1
}

can_make_venv() { command -v uv >/dev/null || python3 -c 'import ensurepip, venv' 2>/dev/null; }

# The newest Python >= 3.11 that the package lists know.
python_package() {
  local name
  for name in python3.13 python3.12 python3.11; do
    if apt-cache show "$name" >/dev/null 2>&1; then
      printf '%s\n' "$name"
      return
    fi
  done
  printf 'python3.12\n'
}

find_missing() {
  command -v git >/dev/null || need git "fetches the models' sources"
  command -v flock >/dev/null || need util-linux "locks, so that two set-ups do not disturb each other"
  command -v make >/dev/null || need make "runs the targets of the Makefile"
  command -v g++ >/dev/null || need g++ "compiles models' operations where an environment is built without conda"
  [[ -e /etc/ssl/certs/ca-certificates.crt || -n ${SSL_CERT_FILE:-} ]] || need ca-certificates "lets downloads be trusted"
  has_library libGL.so.1 || need libgl1 "OpenCV of the models loads it"
  has_library libgthread-2.0.so.0 || need libglib2.0-0 "OpenCV of the models loads it"
  if ! has_python; then
    need "$(python_package)" "admlops itself runs on Python >= 3.11"
    command -v uv >/dev/null || need "$(python_package)-venv" "makes the host environment"
  elif ! can_make_venv; then
    need python3-venv "makes the host environment"
  fi
}

install_missing() {
  log=$(mktemp)
  say "installing ${missing[*]}"
  if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "${missing[@]}"; } \
    >"$log" 2>&1; then
    tail -n 5 "$log" >&2
    fail "apt-get could not install them; the log is $log" \
      "check the network and /etc/apt, then: apt-get install ${missing[*]}" 1
  fi
  rm -f "$log"
  say "installed ${missing[*]}"
}

main() {
  parse "$@"
  find_missing
  if ((${#missing[@]} == 0)); then
    say "nothing is missing"
    exit 0
  fi
  [[ $dry_run == no ]] || exit 1
  command -v apt-get >/dev/null || fail "this system has no apt-get" "install with your package manager: ${missing[*]}" 1
  [[ $(id -u) == 0 ]] || fail "only root can install packages" "sudo apt-get install ${missing[*]}" 1
  install_missing
}

main "$@"
