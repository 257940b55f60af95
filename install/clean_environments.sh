#!/usr/bin/env bash
# Removes every environment that admlops built: `make clean-envs`.
set -euo pipefail

usage() {
  cat <<'HELP'
Usage: install/clean_environments.sh [--help]

Removes the environments of all models and what half-done builds left; nothing that admlops did not make. Packs, compiled
wheels, weights and data stay, so that `make setup` has them back quickly.

Example:
  ./install/clean_environments.sh
HELP
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
admlops=$root/.venv/bin/admlops

installed_models() {
  "$admlops" env list --json | "$root/.venv/bin/python" -c '
import json, sys
print("\n".join(sorted({row["model"] for row in json.load(sys.stdin) if row["prefix"]})))'
}

main() {
  case ${1:-} in
    '') ;;
    --help | -h) usage && exit 0 ;;
    *) printf 'clean: unknown option %s\n  → ./install/clean_environments.sh --help\n' "$1" >&2 && exit 2 ;;
  esac
  "$root/install/bootstrap.sh"
  local names=()
  mapfile -t names < <(installed_models)
  if [[ -z ${names[*]:-} ]]; then
    printf 'clean: no environment is installed\n'
  else
    "$admlops" env remove "${names[@]}" --all --yes
  fi
  "$admlops" env gc --yes
}

main "$@"
