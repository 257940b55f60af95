#!/usr/bin/env bash
# One table and one page about every model that is set up here, or about the embedded default.
set -euo pipefail

usage() {
  cat <<'HELP'
Usage: runners/quick_test.sh [--help] [OPTION of admlops compare]...

Runs every model that is set up, evaluates it, and writes a comparison: a table, comparison_summary.json, report.html.
Where no model is set up it takes the embedded default, GroundPlane; models that are not set up get a row that says so.
Where there is no data set (admlops_repository/data/nuscenes) it makes synthetic scenes first. Options go to
`admlops compare`.

Example:
  ./runners/quick_test.sh --workers 2
HELP
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
repository=${ADMLOPS_REP_PATH:-$root/admlops_repository}

# Every model of the catalogue; the embedded default only while no other model is ready.
chosen_models() {
  "$root/.venv/bin/admlops" models list --json | "$root/.venv/bin/python" -c '
import json, sys
status = {model["name"]: model["status"] for model in json.load(sys.stdin)}
status.pop("GroundPlane")
print(",".join([*status] if "ready" in status.values() else ["GroundPlane", *status]))'
}

main() {
  case ${1:-} in --help | -h) usage && exit 0 ;; esac
  "$root/install/bootstrap.sh"
  local data=$repository/data/nuscenes
  if [[ ! -d $data ]]; then
    data=$repository/data/synthetic
    "$root/.venv/bin/admlops" data synthesize "$data" --scenes 2 --samples 12 --scale 0.5 --camera-sweeps 0 --seed 1
  fi
  "$root/.venv/bin/admlops" compare --models "$(chosen_models)" --data "$data" --split mini_val --fresh "$@"
}

main "$@"
