#!/usr/bin/env bash
# What a number is worth on the road, with the embedded model on synthetic scenes: a stream under its latencies, a grid of
# all of RoboBEV's faults at three levels, a gate, and the page of what each way gives and costs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
admlops=.venv/bin/admlops
root="${ADMLOPS_REP_PATH:-admlops_repository}"
work="$root/beyond"
stream="$work/stream" scenes="$work/scenes"
policy="docs/ci/gate.toml"
name="beyond-$(date +%Y%m%d-%H%M%S)"

mkdir -p "$work"
[[ -f $stream/synthetic.json ]] ||
  "$admlops" data synthesize "$stream" --scenes 2 --samples 5 --scale 0.3 --camera-sweeps 5 --lidar-sweeps 9
[[ -f $scenes/synthetic.json ]] ||
  "$admlops" data synthesize "$scenes" --scenes 2 --samples 3 --scale 0.3 --camera-sweeps 0 --lidar-sweeps 0

"$admlops" run GroundPlane --data "$stream" --split all --stream --run "$name-stream"
"$admlops" evaluate "$name-stream"
"$admlops" streaming "$name-stream"
printf '%s\n' 60 83 84 100 180 300 > "$work/other-device.txt"
"$admlops" streaming "$name-stream" --latencies "$work/other-device.txt" --draw seeded

"$admlops" robustness GroundPlane --data "$scenes" --split all --name "$name"
"$admlops" gate "$name-GroundPlane-clean" "$name-GroundPlane-clean" --policy "$policy" --markdown "$work/gate.md"
"$admlops" frontier --out "$work/frontier.html" --csv "$work/frontier.csv"
echo "pages: $root/robustness/$name/robustness.html and $work/frontier.html"
