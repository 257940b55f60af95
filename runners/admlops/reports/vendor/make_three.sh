#!/usr/bin/env bash
# Makes three.min.js: what three_entry.js names of three.js, bundled, without the rest, minified, under its licence.
set -euo pipefail

usage() {
  cat <<'HELP'
Usage: make_three.sh [--check] [--help]

Bundles what three_entry.js names of three.js into three.min.js, which begins with its licence, and writes the licence to
three.LICENSE, both beside this script. Needs npm and its registry; package-lock.json pins the versions and their hashes.

  --check   write nothing: say whether the files beside this script are what comes out; exit status 1 if not
  --help    this text

Example:
  runners/admlops/reports/vendor/make_three.sh --check
HELP
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
check=no
for argument in "$@"; do
  case $argument in
    --check) check=yes ;;
    --help | -h) usage && exit 0 ;;
    *) printf 'make_three: unknown option %s\n  → %s --help\n' "$argument" "$0" >&2 && exit 2 ;;
  esac
done
if ! command -v npm >/dev/null; then
  printf 'make_three: npm was not found\n  → apt-get install npm\n' >&2
  exit 2
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$here"/{package.json,package-lock.json,three_entry.js} "$work"
cd "$work"
# No package's own scripts run.
npm ci --ignore-scripts --no-audit --no-fund --silent
node_modules/.bin/esbuild three_entry.js --bundle --minify --format=iife --global-name=THREE --target=es2020 \
  --legal-comments=none --log-level=warning --outfile=bundle.js
cp node_modules/three/LICENSE three.LICENSE
# A page that holds the bundle holds the licence, as it asks.
{ printf '/*! three.js\n\n' && cat three.LICENSE && printf '*/\n' && cat bundle.js; } >three.min.js

for file in three.min.js three.LICENSE; do
  if [[ $check == no ]]; then
    install -m 644 "$file" "$here/$file"
  elif ! cmp --silent "$file" "$here/$file"; then
    printf 'make_three: %s is not what comes out\n  → %s\n' "$here/$file" "$0" >&2
    exit 1
  fi
done
