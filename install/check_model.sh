#!/usr/bin/env bash
# Looks at one model from its sources to its records: `make test-MODEL`. Calls `admlops check MODEL`.
set -euo pipefail

usage() {
  cat <<'HELP'
Usage: install/check_model.sh MODEL [--variant NAME] [--engine NAME] [--full] [--help] [OPTION of admlops check]...

Checks that the sources of MODEL are exactly what is pinned, that its environment is what its locks say and works here
(imports, kernels for this GPU, each compiled operation against plain PyTorch), and runs it on two samples: of its data
set and with the catalogue's weights where they are there, else of synthetic scenes and with random weights.
Writes a page with pictures. Stops at the first thing that is not so and ends with 2, or with 1 if the model itself fails.

  --variant NAME   these pins, as in --variant classic; the model's default ones if not given
  --engine NAME    export the network and let this execute it, as in --engine onnx
  --full           hash every file of the environment
  --help           this text

Example:
  ./install/check_model.sh GroundPlane
HELP
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)

case ${1:-} in
  --help | -h) usage && exit 0 ;;
  '')
    printf 'check: no model is named\n  → ./install/check_model.sh GroundPlane\n' >&2
    exit 2
    ;;
esac
"$root/install/bootstrap.sh"
exec "$root/.venv/bin/admlops" check "$@"
