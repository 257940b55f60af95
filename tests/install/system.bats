#!/usr/bin/env bats
# shellcheck disable=SC2016,SC2030,SC2031,SC2154  # stand-ins expand later; every test is a subshell; run sets output
# install/system.sh: what it finds missing and how it asks for it; apt-get is a stand-in.

load helper

setup() {
  make_checkout
  SSL_CERT_FILE=/etc/hosts
  export SSL_CERT_FILE
  only_programs bash cat dirname basename grep head mktemp rm tail git flock make
  stand_in "$BIN/ldconfig" 'printf "libGL.so.1 x\nlibgthread-2.0.so.0 x\n"'
  stand_in "$BIN/g++"
  stand_in "$BIN/python3"
  stand_in "$BIN/uv"
  stand_in "$BIN/id" 'echo 0'
  stand_in "$BIN/apt-cache" '[[ $2 == python3.12 ]]'
  stand_in "$BIN/apt-get"
}

system() { PATH=$BIN "$BIN/bash" "$CHECKOUT/install/system.sh" "$@"; }

@test "help has an example, and a wrong option says where help is" {
  run system --help
  [ "$status" -eq 0 ]
  has_line "Example:"
  run system --nope
  [ "$status" -eq 2 ]
  has_line "--help"
}

@test "a complete system is left alone" {
  run system
  [ "$status" -eq 0 ]
  has_line "nothing is missing"
  run grep apt-get "$CALLS"
  [ "$status" -ne 0 ]
}

@test "what is missing is named with its reason and installed at once" {
  rm "$BIN/git" "$BIN/g++"
  stand_in "$BIN/ldconfig" 'printf "libgthread-2.0.so.0 x\n"'
  run system
  [ "$status" -eq 0 ]
  has_line "missing: git (fetches the models' sources)"
  has_line "missing: libgl1 (OpenCV"
  run cat "$CALLS"
  has_line "apt-get install --yes --no-install-recommends git g++ libgl1"
}

@test "an old Python asks for the newest that there is" {
  rm "$BIN/python3" "$BIN/uv"
  stand_in "$BIN/python3" 'exit 1'
  run system --dry-run
  [ "$status" -eq 1 ]
  has_line "missing: python3.12 (admlops itself"
  has_line "missing: python3.12-venv"
}

@test "only looking installs nothing" {
  rm "$BIN/git"
  run system --dry-run
  [ "$status" -eq 1 ]
  has_line "missing: git"
  run grep apt-get "$CALLS"
  [ "$status" -ne 0 ]
}

@test "who is not root is told what to ask for" {
  rm "$BIN/git"
  stand_in "$BIN/id" 'echo 1000'
  run system
  [ "$status" -eq 1 ]
  has_line "sudo apt-get install git"
}

@test "a system without apt-get is told what it needs" {
  rm "$BIN/git" "$BIN/apt-get"
  run system
  [ "$status" -eq 1 ]
  has_line "install with your package manager: git"
}

@test "apt-get that fails shows why" {
  rm "$BIN/git"
  stand_in "$BIN/apt-get" 'echo "Temporary failure resolving" >&2; exit 100'
  run system
  [ "$status" -eq 1 ]
  has_line "Temporary failure resolving"
  has_line "apt-get install git"
}
