# shellcheck shell=bash disable=SC2154  # bats sets output
# What the bats files share: a small checkout with the real scripts and stand-ins for the slow programs they call.

make_checkout() {
  ROOT=$(cd "$BATS_TEST_DIRNAME/../.." && pwd -P)
  CHECKOUT=$BATS_TEST_TMPDIR/checkout
  HOME=$BATS_TEST_TMPDIR/home
  DISK=$BATS_TEST_TMPDIR/disk
  CALLS=$BATS_TEST_TMPDIR/calls
  export ROOT CHECKOUT HOME DISK CALLS SHELL=/bin/bash
  unset ADMLOPS_PATH ADMLOPS_REP_PATH ADMLOPS_ENVIRONMENTS
  export TMPDIR=$BATS_TEST_TMPDIR/temporary # what the scripts leave there goes with the test
  mkdir -p "$TMPDIR" "$CHECKOUT/envs" "$CHECKOUT/.venv/bin" "$CHECKOUT/admlops_repository" "$HOME" "$DISK"
  cp -r "$ROOT/install" "$ROOT/Makefile" "$CHECKOUT/"
  # Whatever machine this is: its /workspace is not for tests.
  stand_in "$BATS_TEST_TMPDIR/programs/mountpoint" 'exit 1'
  PATH=$BATS_TEST_TMPDIR/programs:$PATH
  cd "$CHECKOUT" || return
}

add_model() { # name
  mkdir -p "$CHECKOUT/envs/$1"
  printf 'name = "%s"\n' "$1" >"$CHECKOUT/envs/$1/model.toml"
}

# A stand-in for a program: notes how it was called, then does what the rest of the arguments say.
stand_in() { # path, lines of bash...
  local path=$1
  shift
  mkdir -p "$(dirname "$path")"
  {
    printf '#!/usr/bin/env bash\n'
    # shellcheck disable=SC2016  # the stand-in expands them
    printf 'printf "%%s\\n" "$(basename "$0") $*" >>"%s"\n' "$CALLS"
    printf '%s\n' "$@"
  } >"$path"
  chmod +x "$path"
}

# $BIN, a folder with only these programs: with it as PATH the machine's own ones do not matter.
only_programs() { # name...
  local name
  BIN=$BATS_TEST_TMPDIR/bin
  export BIN
  mkdir -p "$BIN"
  for name in "$@"; do
    ln -sf "$(command -v "$name")" "$BIN/$name"
  done
}

has_line() { # text: somewhere in $output
  [[ $output == *"$1"* ]] || {
    printf 'not in the output: %s\n--- output:\n%s\n' "$1" "$output"
    return 1
  }
}

lacks_line() {
  [[ $output != *"$1"* ]] || {
    printf 'in the output, but should not be: %s\n--- output:\n%s\n' "$1" "$output"
    return 1
  }
}
