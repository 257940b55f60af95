#!/usr/bin/env bash
# Installs Chromium from the system's packages, for the tests that look at the report in a real browser.

set -euo pipefail

usage() {
  cat <<'HELP'
Usage: ./install/browser.sh [--help]

Installs Chromium on Debian or Ubuntu, as root, so that `make test` also looks at report.html in a real browser.
Does nothing where chromium, chromium-browser or google-chrome is on PATH already.

Example:
  ./install/browser.sh && .venv/bin/pytest -m browser
HELP
}

fail() { # message, what to type next
  printf 'browser: %s\n  → %s\n' "$1" "$2" >&2
  exit 2
}

say() { printf 'browser: %s\n' "$1"; }

# The first browser on PATH that runs, or nothing. Ubuntu's chromium-browser may be a stub that only asks for snap.
find_browser() {
  local name
  for name in chromium chromium-browser google-chrome; do
    if command -v "$name" >/dev/null && "$name" --version >/dev/null 2>&1; then
      command -v "$name"
      return
    fi
  done
}

install_chromium() {
  local log
  log=$(mktemp)
  if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends chromium fonts-dejavu-core; } \
    >"$log" 2>&1; then
    tail -n 5 "$log" >&2
    fail "apt-get could not install chromium; the log is $log" "check the network and /etc/apt, then run it again"
  fi
  rm -f "$log"
}

main() {
  case ${1:-} in
    '') ;;
    --help | -h) usage && exit 0 ;;
    *) fail "unknown option $1" "./install/browser.sh --help" ;;
  esac
  local browser
  browser=$(find_browser)
  if [[ -n $browser ]]; then
    say "$browser is there already"
    exit 0
  fi
  command -v apt-get >/dev/null || fail "this system has no apt-get" "install Chromium with your package manager"
  [[ $(id -u) == 0 ]] || fail "only root can install packages" "sudo ./install/browser.sh"
  install_chromium
  browser=$(find_browser)
  [[ -n $browser ]] || fail "the chromium package gave no browser that runs" \
    "install Google Chrome or Chromium yourself, so that google-chrome or chromium is on PATH"
  say "installed $browser"
}

main "$@"
