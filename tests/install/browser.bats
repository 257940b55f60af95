#!/usr/bin/env bats
# shellcheck disable=SC2016,SC2030,SC2031,SC2154  # stand-ins expand later; every test is a subshell; run sets output
# install/browser.sh: whether a browser is there, and how one is asked for; apt-get is a stand-in.

load helper

setup() {
  make_checkout
  only_programs bash cat dirname basename chmod mktemp rm tail
  stand_in "$BIN/id" 'echo 0'
  stand_in "$BIN/apt-get"
}

browser() { PATH=$BIN "$BIN/bash" "$CHECKOUT/install/browser.sh" "$@"; }

@test "help has an example, and a wrong option says where help is" {
  run browser --help
  [ "$status" -eq 0 ]
  has_line "Example:"
  run browser --nope
  [ "$status" -eq 2 ]
  has_line "./install/browser.sh --help"
}

@test "a browser that is there is left alone" {
  stand_in "$BIN/google-chrome"
  run browser
  [ "$status" -eq 0 ]
  has_line "$BIN/google-chrome is there already"
  run grep apt-get "$CALLS"
  [ "$status" -ne 0 ]
}

@test "a stub that does not run is no browser, and one is installed" {
  stand_in "$BIN/chromium-browser" 'exit 1'
  stand_in "$BIN/apt-get" '[[ $1 != install ]] || { printf "#!/bin/sh\n" >"$BIN/chromium"; chmod +x "$BIN/chromium"; }'
  run browser
  [ "$status" -eq 0 ]
  has_line "installed $BIN/chromium"
  run cat "$CALLS"
  has_line "apt-get install --yes --no-install-recommends chromium"
}

@test "who is not root, or has no apt-get, is told what to do" {
  stand_in "$BIN/id" 'echo 1000'
  run browser
  [ "$status" -eq 2 ]
  has_line "sudo ./install/browser.sh"
  rm "$BIN/apt-get"
  run browser
  [ "$status" -eq 2 ]
  has_line "no apt-get"
}

@test "apt-get that fails shows why, and a package without a browser is said" {
  run browser
  [ "$status" -eq 2 ]
  has_line "gave no browser that runs"
  stand_in "$BIN/apt-get" 'echo "Temporary failure resolving" >&2; exit 100'
  run browser
  [ "$status" -eq 2 ]
  has_line "Temporary failure resolving"
}
