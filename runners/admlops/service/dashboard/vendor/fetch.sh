#!/usr/bin/env bash
# Brings the scripts and the style that the dashboard's pages load from npm, with their licences.
set -euo pipefail

usage() {
  cat <<'HELP'
Usage: fetch.sh [--check] [--help]

Fetches htmx, its extension for server-sent events, and uPlot, and puts the files that pages load beside this script, with
the licences. Needs npm and its registry: package-lock.json pins versions and hashes, and SHA256SUMS says what must lie
here.

  --check   fetch nothing and write nothing: hold the files that lie here against SHA256SUMS; exit status 1 if one differs
  --help    this text

Example:
  runners/admlops/service/dashboard/vendor/fetch.sh --check
HELP
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
check=no
for argument in "$@"; do
  case $argument in
    --check) check=yes ;;
    --help | -h) usage && exit 0 ;;
    *) printf 'fetch: unknown option %s\n  → %s --help\n' "$argument" "$0" >&2 && exit 2 ;;
  esac
done
if [[ $check == yes ]]; then
  if ! (cd "$here" && sha256sum --check --quiet SHA256SUMS); then
    printf 'fetch: a file in %s is not what SHA256SUMS says\n  → %s\n' "$here" "$0" >&2
    exit 1
  fi
  exit 0
fi
if ! command -v npm >/dev/null; then
  printf 'fetch: npm was not found\n  → apt-get install npm\n' >&2
  exit 2
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$here"/{package.json,package-lock.json,SHA256SUMS} "$work"
cd "$work"
# No package's own scripts run.
npm ci --ignore-scripts --no-audit --no-fund --silent
packages=node_modules
cp "$packages/htmx.org/dist/htmx.min.js" "$packages/htmx.org/dist/ext/hx-sse.min.js" .
cp "$packages/uplot/dist/uPlot.iife.min.js" "$packages/uplot/dist/uPlot.min.css" .
cp "$packages/htmx.org/LICENSE" htmx.LICENSE
cp "$packages/uplot/LICENSE" uPlot.LICENSE
if ! sha256sum --check --quiet SHA256SUMS; then
  printf 'fetch: what came is not what SHA256SUMS says\n  → npm cache verify, then %s\n' "$0" >&2
  exit 1
fi
install -m 644 htmx.min.js hx-sse.min.js uPlot.iife.min.js uPlot.min.css htmx.LICENSE uPlot.LICENSE "$here"
