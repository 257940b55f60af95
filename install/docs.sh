#!/usr/bin/env bash
# Builds the documentation site from docs/, offline once its packages are there. Warnings are errors.
set -euo pipefail

usage() {
  cat <<'HELP'
Usage: install/docs.sh [--out DIR] [--help]

Puts the packages of docs/requirements.txt into .venv, every one checked against its sha256, and builds the site into
docs/_build/html. A page or a link that is missing is an error.

  --out DIR   build there instead
  --help      this text

Example:
  make docs && python3 -m http.server --directory docs/_build/html
HELP
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
out=$root/docs/_build/html
stamp=$root/.venv/.docs

fail() { # message, what to type next
  printf 'docs: %s\n  → %s\n' "$1" "$2" >&2
  exit 2
}

while (($#)); do
  case $1 in
    --out) [[ -n ${2:-} ]] || fail "--out needs a folder" "./install/docs.sh --help" && out=$2 && shift 2 ;;
    --help | -h) usage && exit 0 ;;
    *) fail "unknown option $1" "./install/docs.sh --help" ;;
  esac
done

"$root/install/bootstrap.sh"
wanted=$(sha256sum "$root/docs/requirements.txt" | cut -d' ' -f1)
if [[ $(cat "$stamp" 2>/dev/null) != "$wanted" ]]; then
  uv=$root/.venv/bin/uv
  [[ -x $uv ]] || uv=$(command -v uv)
  "$uv" pip install --quiet --python "$root/.venv/bin/python" --require-hashes --no-deps -r "$root/docs/requirements.txt" ||
    fail "the packages of docs/requirements.txt could not be installed" "check the network and your index settings"
  printf '%s\n' "$wanted" >"$stamp"
fi
"$root/.venv/bin/python" -m sphinx --fail-on-warning --keep-going --quiet -b html "$root/docs" "$out" ||
  fail "the site has the faults above" "mend them, then: make docs"
printf 'docs: %s/index.html\n' "$out"
