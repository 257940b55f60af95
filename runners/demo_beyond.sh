#!/usr/bin/env bash
# What a number is worth on the road: `make demo-beyond`.
set -euo pipefail

usage() {
  cat <<'HELP'
Usage: runners/demo_beyond.sh [--help]

The embedded model on small synthetic scenes: a stream at 12 Hz under its own latencies and another device's, RoboBEV's
eight faults of cameras at three levels, a regression gate, and the page of what each way of running gives and costs.

Synthetic scenes show that everything works, and say nothing about real roads.

Example:
  ./runners/demo_beyond.sh
HELP
}

case ${1:-} in --help | -h) usage && exit 0 ;; esac
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
"$root/install/bootstrap.sh"
admlops=$root/.venv/bin/admlops
repository=${ADMLOPS_REP_PATH:-$root/admlops_repository}
work="$repository/beyond"
scenes="$work/scenes"
policy="$root/docs/ci/gate.toml"
name="beyond-$(date +%Y%m%d-%H%M%S)"

mkdir -p "$work"
[[ -f $scenes/synthetic.json ]] ||
  "$admlops" data synthesize "$scenes" --scenes 2 --samples 4 --scale 0.3 --camera-sweeps 5 --lidar-sweeps 9

"$admlops" run GroundPlane --data "$scenes" --split all --stream --run "$name-stream"
"$admlops" evaluate "$name-stream"
"$admlops" streaming "$name-stream" --out "$work/stream.html"
printf '%s\n' 60 83 84 100 180 300 > "$work/other-device.txt"
"$admlops" streaming "$name-stream" --latencies "$work/other-device.txt" --draw seeded

"$admlops" robustness GroundPlane --data "$scenes" --split all --name "$name"
"$admlops" gate "$name-GroundPlane-clean" "$name-GroundPlane-clean" --policy "$policy" --markdown "$work/gate.md"
"$admlops" frontier --out "$work/frontier.html" --csv "$work/frontier.csv"
echo "pages: $work/stream.html, $repository/robustness/$name/robustness.html and $work/frontier.html"
