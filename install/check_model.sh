#!/usr/bin/env bash
# Looks at one model from its environment to its records: `make test-MODEL`.
set -euo pipefail

usage() {
  cat <<'HELP'
Usage: install/check_model.sh MODEL [--variant NAME] [--full] [--help]

Checks that the sources of MODEL are exactly what is pinned, that its environment is what its locks say and works here
(imports, kernels for this GPU, each compiled operation against plain PyTorch), and runs it on two samples: of its data
set and with the catalogue's weights where they are there, else of synthetic scenes and with random weights.
Writes a page with pictures. Stops at the first thing that is not so and ends with 2, or with 1 if the model itself fails.

  --variant NAME   these pins, as in --variant classic; the model's default ones if not given
  --full           hash every file of the environment
  --help           this text

Example:
  ./install/check_model.sh GroundPlane
HELP
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
admlops=$root/.venv/bin/admlops
repository=${ADMLOPS_REP_PATH:-$root/admlops_repository}
model=
data=
options=()
variant=()
options_of_data=()
weights=()

fail() { # message, what to type next
  printf 'check: %s\n  → %s\n' "$1" "$2" >&2
  exit 2
}

say() { printf 'check: %s\n' "$1"; }

parse() {
  while (($#)); do
    case $1 in
      --full) options+=("$1") ;;
      --variant)
        [[ -n ${2:-} ]] || fail "--variant wants a name" "./install/check_model.sh MapTR --variant classic"
        variant=(--variant "$2") && shift
        ;;
      --help | -h) usage && exit 0 ;;
      -*) fail "unknown option $1" "./install/check_model.sh --help" ;;
      *) model=$1 ;;
    esac
    shift
  done
  [[ -n $model ]] || fail "no model is named" "./install/check_model.sh GroundPlane"
  [[ -f $root/envs/$model/model.toml ]] || fail "no model is called $model (there is no envs/$model/model.toml)" "ls $root/envs"
}

check_adapter() {
  [[ -f $root/envs/$model/demo.py ]] ||
    fail "$model has no adapter yet (envs/$model/demo.py): its sources and environment are right, but nothing can run it" \
      "see docs/adding-a-model.md, or: ./install/check_model.sh GroundPlane"
}

# Two samples of the data set that the model reads if it is set up, else of synthetic scenes in its layout.
choose_data() {
  if grep -q '^reads = \["openlanev2"' "$root/envs/$model/model.toml"; then
    data=$repository/data/OpenLane-V2
    [[ -f $data/data_dict_subset_A.json ]] && options_of_data=(--version subset_A) && return
    data=$repository/data/synthetic-openlane
    [[ -d $data ]] ||
      "$admlops" data synthesize "$data" --format openlane-v2 --scenes 2 --samples 12 --scale 0.5 --seed 1
    return
  fi
  data=$repository/data/nuscenes
  [[ -d $data/v1.0-mini ]] && return
  data=$repository/data/synthetic
  [[ -d $data ]] ||
    "$admlops" data synthesize "$data" --scenes 2 --samples 12 --scale 0.5 --camera-sweeps 0 --seed 1
}

# The catalogue's default weights where they were fetched, else random ones; nothing for a model without weights.
choose_weights() {
  local fetched
  fetched=$("$admlops" checkpoints list "$model" --json | "$root/.venv/bin/python" -c '
import json, pathlib, sys
default = [entry for entry in json.load(sys.stdin) if entry["default"]]
print("none" if not default else "yes" if pathlib.Path(default[0]["path"]).is_file() else "no")')
  if [[ $fetched == no ]]; then
    say "the weights of $model are not fetched: random ones take their place, and the results mean nothing"
    weights=(--weights random:0)
  fi
}

run_and_draw() {
  local name
  name=check-$model-$(date +%Y%m%d-%H%M%S)
  "$admlops" run "$model" "${variant[@]}" --data "$data" --limit 2 --run "$name" "${options_of_data[@]}" "${weights[@]}"
  "$admlops" evaluate "$name" || say "not evaluated, as said above"
  "$admlops" report "$name"
}

main() {
  parse "$@"
  "$root/install/bootstrap.sh"
  "$admlops" sources verify "$model" || exit 2
  say "the environment of $model"
  "$admlops" env verify "$model" "${variant[@]}" "${options[@]}" || exit 2
  "$admlops" env probe "$model" "${variant[@]}" || exit 2
  check_adapter
  choose_data
  choose_weights
  say "$model on two samples of $data"
  run_and_draw
  say "$model works"
}

main "$@"
