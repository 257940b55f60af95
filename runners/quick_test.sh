#!/usr/bin/env bash
# One table and one page about every model: which are ready, which are not, and why. Calls `admlops check`.
set -euo pipefail

usage() {
  cat <<'HELP'
Usage: runners/quick_test.sh [--help] [OPTION of admlops check]...

Runs every model that is set up, evaluates it, and writes a comparison: a table, comparison_summary.json, report.html.
The table says of each model whether it is

  ready        it ran on the scenes with its own weights
  degraded     it ran, but its weights are random, or samples failed, or there is no GPU: the table says which
  failed       with the failure's class and what to do
  not set up   with what is missing

Real data and weights are taken where they are set up, else synthetic scenes are made and random weights drawn. Without a
GPU the networks run on the first two samples only. `admlops check --help` has the options.

Example:
  ./runners/quick_test.sh --workers 2
HELP
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)

case ${1:-} in --help | -h) usage && exit 0 ;; esac
"$root/install/bootstrap.sh"
exec "$root/.venv/bin/admlops" check "$@"
