#!/usr/bin/env bash
# One table and one page about every model: which are ready, which are not, and why.
set -euo pipefail

usage() {
  cat <<'HELP'
Usage: runners/quick_test.sh [--help] [OPTION of admlops compare]...

Runs every model that is set up, evaluates it, and writes a comparison: a table, comparison_summary.json, report.html.
The table says of each model whether it is

  ready        it ran on the scenes with its own weights
  degraded     it ran, but its weights are random, or samples failed, or there is no GPU: the table says which
  failed       with the failure's class and what to do
  not set up   with what is missing

Real data and weights are taken where they are set up, else synthetic scenes are made and random weights drawn. Without a
GPU the networks run on the first two samples only. Options go to `admlops compare`.

Example:
  ./runners/quick_test.sh --workers 2
HELP
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
admlops=$root/.venv/bin/admlops
repository=${ADMLOPS_REP_PATH:-$root/admlops_repository}
small=(--scenes 2 --samples 12 --scale 0.5 --seed 1)

# The data set's folder $1 if it is set up, else $2, made now if need be with the options that follow.
data_set() {
  local real=$repository/data/$1 made=$repository/data/$2
  shift 2
  if [[ -d $real ]]; then
    echo "$real"
    return
  fi
  [[ -d $made ]] || "$admlops" data synthesize "$made" "${small[@]}" "$@" >&2
  echo "$made"
}

# The data sets that networks read which can run here, if only with random weights: nuscenes, openlanev2, or none. With
# --models among the arguments, those networks alone.
networks_here() {
  "$root/.venv/bin/python" -c '
import sys
from admlops.catalog import list_models, load_model
from admlops.core.paths import find_layout
from admlops.pipeline.readiness import find_readiness
layout = find_layout()
wanted = list_models(layout)
if "--models" in sys.argv[1:-1]:
    named = sys.argv[sys.argv.index("--models") + 1]
    wanted = [name for name in wanted if named == "all" or name in named.split(",")]
models = [load_model(layout, name) for name in wanted]
networks = [model for model in models if model.traits.needs_setup]
print(*sorted({model.reads[0] for model in networks if find_readiness(layout, model, weights=False).ready}))' "$@"
}

has_gpu() { nvidia-smi -L >/dev/null 2>&1; }

main() {
  case ${1:-} in --help | -h) usage && exit 0 ;; esac
  "$root/install/bootstrap.sh"
  local data networks options=()
  data=$(data_set nuscenes synthetic --camera-sweeps 0)
  networks=$(networks_here "$@")
  [[ -z $networks ]] || has_gpu || options+=(--limit 2)
  case $networks in
    *openlanev2*) options+=(--also "$(data_set OpenLane-V2 synthetic-openlane --format openlane-v2)") ;;
  esac
  "$admlops" compare --models all --random-weights --data "$data" --fresh ${options[@]+"${options[@]}"} "$@"
}

main "$@"
