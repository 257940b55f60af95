#!/usr/bin/env bash
# Removes every environment that admlops built: `make clean-envs`.
set -euo pipefail

usage() {
  cat <<'HELP'
Usage: install/clean_environments.sh [--help]

Removes every environment, whole or not, and what removals left; nothing that admlops did not make. Packs, compiled
wheels, weights and data stay, so that `make setup` has them back quickly.

Example:
  ./install/clean_environments.sh
HELP
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
admlops=$root/.venv/bin/admlops

main() {
  case ${1:-} in
    '') ;;
    --help | -h) usage && exit 0 ;;
    *) printf 'clean: unknown option %s\n  → ./install/clean_environments.sh --help\n' "$1" >&2 && exit 2 ;;
  esac
  "$root/install/bootstrap.sh"
  "$admlops" env remove --all --yes
  "$admlops" env gc --yes
}

main "$@"
