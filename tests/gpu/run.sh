#!/bin/bash
# The checks that need a GPU, on a bare machine: unpack what tests/gpu/pack.py made, and run the stages within the time.
#
#   OUT=results tests/gpu/run.sh [FOLDER-OF-THE-PACK] [run_stages.py's options, such as --only 0,3 or --budget-s 300]
#
# Needs Python with torch, nvcc and a C++ compiler. Results: one JSON file a stage in $OUT, and run.json.
set -euo pipefail

pack=${1:-.gpu}
shift || true
out=${OUT:-results}
python=${PYTHON:-python3}
work=${ADMLOPS_GPU_WORK:-/tmp/admlops-gpu}
build=${ADMLOPS_GPU_BUILD:-/tmp/admlops-gpu-build} # outlives this call: what was compiled is not compiled again

rm -rf "$work"
mkdir -p "$work" "$out" "$build"
tar -xJf "$pack/code.tar.xz" -C "$work"
if compgen -G "$pack/wheels/*.whl" >/dev/null; then
	"$python" -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$work/site" \
		"$pack"/wheels/*.whl
fi
export ADMLOPS_GPU_BUILD=$build PYTHONUNBUFFERED=1 OMP_NUM_THREADS=${OMP_NUM_THREADS:-8}
# Its own packages last but one: what was compiled first, then those that were carried.
export PYTHONPATH="$build/mmcv-full:$build/attention:$work/site${PYTHONPATH:+:$PYTHONPATH}"
exec "$python" "$work/tests/gpu/run_stages.py" --out "$out" --scenes "$work/scenes" --log "$work/log.txt" "$@"
