#!/usr/bin/env bash
# Makes the host environment .venv from the hashed lock requirements.txt, and puts admlops into it.
# Every make target runs this first: it returns at once when nothing changed.
set -euo pipefail

usage() {
  cat <<'HELP'
Usage: install/bootstrap.sh [--force] [--help]

Makes .venv in the checkout: Python >= 3.11, the packages of requirements.txt (every one checked against its sha256),
uv (from PATH, else into .venv) and the admlops command with shell completion. Does nothing when nothing changed.

  --force   make it anew
  --help    this text

PYTHON=/path/to/python3 chooses the interpreter.

Example:
  ./install/bootstrap.sh && source .venv/bin/activate && admlops --help
HELP
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv
stamp=$venv/.bootstrapped
log=$venv/bootstrap.log
needed_mb=1500
force=no

fail() { # message, what to type next
  printf 'bootstrap: %s\n  → %s\n' "$1" "$2" >&2
  exit 2
}

say() { printf 'bootstrap: %s\n' "$1"; }

parse() {
  for argument in "$@"; do
    case $argument in
      --force) force=yes ;;
      --help | -h) usage && exit 0 ;;
      *) fail "unknown option $argument" "./install/bootstrap.sh --help" ;;
    esac
  done
}

# The first interpreter that is new enough, or nothing.
find_python() {
  local candidate
  for candidate in ${PYTHON:+"$PYTHON"} python3 python3.15 python3.14 python3.13 python3.12 python3.11; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      "$candidate" -c 'import sys; print(getattr(sys, "_base_executable", sys.executable))'
      return
    fi
  done
}

# What .venv is made from: when this is unchanged, so is .venv.
fingerprint() { # interpreter
  {
    cat "$root/requirements.txt" "$root/install/uv.txt" "$root/pyproject.toml" "${BASH_SOURCE[0]}"
    "$1" -VV
    printf '%s\n' "$root"
  } | sha256sum | cut -d' ' -f1
}

check_disk() {
  local free_mb
  free_mb=$(df -Pm "$root" | awk 'NR == 2 { print $4 }')
  if ((free_mb < needed_mb)); then
    fail "$root has $free_mb MB free; the host environment and its packages need about $needed_mb MB" \
      "df -h $root   # free some space, or clone onto a larger disk"
  fi
}

# Runs a step with its output in the log, and says what its failure means.
step() { # command...
  if ! "$@" >>"$log" 2>&1; then
    explain_failure
  fi
}

explain_failure() {
  tail -n 15 "$log" >&2
  if grep -qiE 'no space left' "$log"; then
    fail "the disk is full" "df -h $root   # free some space, then run the command again"
  elif grep -qiE 'hash mismatch|do not match|hashes.*not match' "$log"; then
    fail "a package's hash is not the one in the lock" "git checkout -- requirements.txt install/uv.txt"
  elif grep -qiE 'ensurepip is not available|no module named (venv|ensurepip)' "$log"; then
    fail "this Python has no venv module" "apt-get install python3-venv"
  elif grep -qiE 'error sending request|dns error|connection|timed out|failed to fetch|no matching distribution|resolve host' "$log"; then
    fail "the package index cannot be reached" "check the network and your proxy or index settings, then run it again"
  fi
  fail "the host environment could not be made; the log is $log" "./install/bootstrap.sh --force"
}

# uv and pip keep downloads at home. Where there is no home, or none that can be written, they lie with the large files.
find_caches() {
  local home=${XDG_CACHE_HOME:-${HOME:+$HOME/.cache}} caches=${ADMLOPS_REP_PATH:-$root/admlops_repository}/cache
  while [[ -n $home && ! -e $home ]]; do home=$(dirname "$home"); done
  if [[ -z $home || ! -d $home || ! -w $home ]]; then
    export UV_CACHE_DIR=${UV_CACHE_DIR:-$caches/uv} PIP_CACHE_DIR=${PIP_CACHE_DIR:-$caches/pip}
  fi
}

make_venv() { # interpreter
  rm -rf "$venv"
  mkdir -p "$venv"
  if command -v uv >/dev/null; then
    step uv venv --quiet --allow-existing --python "$1" "$venv"
  else
    step "$1" -m venv "$venv"
    step "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$root/install/uv.txt"
  fi
}

install_packages() {
  local uv=$venv/bin/uv
  [[ -x $uv ]] || uv=$(command -v uv)
  # Pods' images let Python write no bytecode: each command would compile what it imports.
  export UV_COMPILE_BYTECODE=${UV_COMPILE_BYTECODE:-1}
  step "$uv" pip install --quiet --python "$venv/bin/python" --require-hashes --no-deps -r "$root/requirements.txt"
  step "$uv" pip install --quiet --python "$venv/bin/python" --no-deps --no-build-isolation --editable "$root"
  # -E: a PYTHONHOME or PYTHONPATH of another Python's must not reach the command; admlops looks into PYTHONPATH last.
  sed -i '1{/^#!.*python[0-9.]*$/s/$/ -E/}' "$venv/bin/admlops"
}

# `source .venv/bin/activate` gives the command and its completion.
add_completion() {
  local shell
  mkdir -p "$venv/share/admlops"
  for shell in bash zsh fish; do
    # click needs bash 4.4 for completion; the command itself works without.
    _ADMLOPS_COMPLETE=${shell}_source "$venv/bin/admlops" >"$venv/share/admlops/complete.$shell" 2>>"$log" || true
  done
  cat >>"$venv/bin/activate" <<'COMPLETION'

# admlops: shell completion
if [ -n "${BASH_VERSION:-}" ]; then . "$VIRTUAL_ENV/share/admlops/complete.bash"; fi
if [ -n "${ZSH_VERSION:-}" ] && whence compdef >/dev/null; then . "$VIRTUAL_ENV/share/admlops/complete.zsh"; fi
COMPLETION
  if [[ -f $venv/bin/activate.fish ]]; then
    # shellcheck disable=SC2016  # fish expands it, when it is read
    printf '\n# admlops: shell completion\nsource "$VIRTUAL_ENV/share/admlops/complete.fish"\n' >>"$venv/bin/activate.fish"
  fi
}

main() {
  parse "$@"
  local python wanted
  python=$(find_python)
  [[ -n $python ]] || fail "Python >= 3.11 was not found (python3 is $(python3 -V 2>&1 || echo absent))" \
    "apt-get install python3.12 python3.12-venv   # or: PYTHON=/path/to/python3 ./install/bootstrap.sh"
  [[ -w $root ]] || fail "$root cannot be written" "ls -ld $root   # clone into a folder of your own"

  exec 9>"$root/.bootstrap.lock"
  flock 9
  wanted=$(fingerprint "$python")
  if [[ $force == no && -x $venv/bin/admlops && $(cat "$stamp" 2>/dev/null) == "$wanted" ]]; then
    exit 0
  fi
  check_disk
  find_caches
  say "making $venv with $("$python" -V)"
  make_venv "$python"
  install_packages
  add_completion
  printf '%s\n' "$wanted" >"$stamp"
  say "done: source .venv/bin/activate gives you admlops and its completion"
}

main "$@"
