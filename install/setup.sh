#!/usr/bin/env bash
# Everything from a bare pod to models that run: `make setup`.
set -euo pipefail

usage() {
  cat <<'HELP'
Usage: install/setup.sh [--model NAME]... [--variant NAME] [--accept-licence] [--disk DIR] [--rc FILE | --no-rc]
                        [--skip STEP]... [--help]

Sets up every model, or those named, in six steps: system packages, storage, the host environment, the models' sources,
their environments, their published weights. What cannot be had, because there is no network, no rights or no quota, is
said, and the rest goes on; at the end stands what is ready and what is left for you. Run it again at any time: what is
there is left as it is, what broke is mended.

  --model NAME  this model only (may be repeated)
  --variant NAME  the environments of the models named, in these pins, as in --variant classic
  --accept-licence  say yes to the licences that are asked for before a model is installed (AGPL); without it a person
                at a terminal is asked, and elsewhere such models are left out
  --disk DIR    the large disk [default: /workspace where that is a mount, else the checkout's disk]
  --rc FILE     the shell's rc file to write ADMLOPS_PATH and ADMLOPS_REP_PATH to
  --no-rc       leave rc files alone
  --skip STEP   system, storage, sources, environments or checkpoints (may be repeated)
  --help        this text

Ends with 0 if all that needs no person is ready, with 1 if something could not be had, with 2 if nothing can work.

Example:
  ./install/setup.sh --model MapTR --disk /workspace
HELP
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
admlops=$root/.venv/bin/admlops
steps=(system storage sources environments checkpoints)
models=()
variant=()
licence=()
skipped=()
storage_options=()
incomplete=no
summary=() # one line a step

fail() { # message, what to type next
  printf 'setup: %s\n  → %s\n' "$1" "$2" >&2
  exit 2
}

heading() { printf '\n== %s\n' "$1"; }

note() { # step, state, what
  summary+=("$(printf '%-14s %-12s %s' "$1" "$2" "$3")")
  [[ $2 != incomplete ]] || incomplete=yes
}

parse() {
  while (($#)); do
    case $1 in
      --model | --variant | --disk | --rc | --skip)
        (($# > 1)) || fail "$1 needs a value" "./install/setup.sh --help"
        take "$1" "$2"
        shift
        ;;
      --no-rc) storage_options+=("$1") ;;
      --accept-licence) licence=("$1") ;;
      --help | -h) usage && exit 0 ;;
      *) fail "unknown option $1" "./install/setup.sh --help" ;;
    esac
    shift
  done
  ((${#variant[@]} == 0 || ${#models[@]})) || fail "--variant is for the models named by --model" \
    "./install/setup.sh --model MapTR ${variant[*]}"
}

take() { # option, value
  case $1 in
    --model)
      [[ -f $root/envs/$2/model.toml ]] || fail "no model is called $2 (there is no envs/$2/model.toml)" "ls $root/envs"
      models+=("$2")
      ;;
    --variant) variant=(--variant "$2") ;;
    --skip)
      [[ " ${steps[*]} " == *" $2 "* ]] || fail "there is no step $2; the steps are ${steps[*]}" "./install/setup.sh --help"
      skipped+=("$2")
      ;;
    *) storage_options+=("$1" "$2") ;;
  esac
}

is_skipped() { [[ " ${skipped[*]:-} " == *" $1 "* ]]; }

set_up_system() {
  heading "System packages"
  if "$root/install/system.sh"; then
    note system ready "nothing is missing"
  else
    note system incomplete "packages are missing, see above: ./install/system.sh"
  fi
}

set_up_storage() {
  heading "Storage"
  local lines
  lines=$("$root/install/storage.sh" --quiet "${storage_options[@]}") || exit 2
  eval "$lines" # assignments that storage.sh quoted
  note storage ready "$ADMLOPS_REP_PATH"
}

set_up_host() {
  heading "Host environment"
  "$root/install/bootstrap.sh" || fail "without the host environment nothing can be set up" "./install/bootstrap.sh"
  note host ready "$root/.venv"
}

# The models asked for, or all of the catalogue.
choose_models() {
  ((${#models[@]} == 0)) || return 0
  local folder
  for folder in "$root"/envs/*/; do
    if [[ -f $folder/model.toml ]]; then models+=("$(basename "$folder")"); fi
  done
}

set_up_sources() {
  heading "Sources"
  if "$admlops" sources fetch "${models[@]}" && "$admlops" sources verify "${models[@]}"; then
    note sources ready "as pinned"
  else
    note sources incomplete "see above; then: admlops sources fetch"
  fi
}

# Whether the licence of a model is accepted, or needs no yes. The yes comes before the minutes that an installation takes.
accepts_licence() { # model
  if grep -qsE '^(weights_)?license = "AGPL' "$root/envs/$1/model.toml"; then
    "$admlops" env install "$1" --licence-only ${licence[@]+"${licence[@]}"}
  fi
}

set_up_environments() {
  heading "Environments"
  local name names=("${models[@]}") ready=() failed=() unlicensed=() folder
  if [[ $all == yes ]]; then
    for folder in "$root"/envs/official/*/; do
      if [[ -f $folder/environment.toml ]]; then names+=("official/$(basename "$folder")"); fi
    done
  fi
  for name in "${names[@]}"; do
    if ! accepts_licence "$name"; then
      unlicensed+=("$name")
    elif "$admlops" env install "$name" ${variant[@]+"${variant[@]}"}; then
      ready+=("$name")
    else
      failed+=("$name")
    fi
  done
  if ((${#unlicensed[@]})); then
    note licences "by hand" "not accepted: ${unlicensed[*]}; see above"
  fi
  if ((${#failed[@]})); then
    note environments incomplete "not ready: ${failed[*]}; see above, then: admlops env install NAME"
  else
    note environments ready "${ready[*]}"
  fi
}

set_up_checkpoints() {
  heading "Published weights"
  local name missing=()
  for name in "${models[@]}"; do
    "$admlops" checkpoints fetch "$name" || missing+=("$name")
  done
  if ((${#missing[@]})); then
    note checkpoints "by hand" "missing: ${missing[*]}"
  else
    note checkpoints ready "the default weights of ${models[*]}"
  fi
}

print_summary() {
  heading "Summary"
  printf '%s\n' "${summary[@]}"
  printf '\n'
  "$admlops" models list || true
  printf '\nLeft for you:\n'
  { "$admlops" check --missing "${models[@]}" || true; } | sed 's/^/  - /'
  if [[ $incomplete == yes ]]; then
    printf '\nNot everything could be had. What is marked incomplete is tried again by: ./install/setup.sh\n'
  fi
  printf '\nTry it without any data: make demo\n'
}

run_step() { # step
  if is_skipped "$1"; then
    note "$1" skipped ""
  else
    "set_up_$1"
  fi
}

main() {
  parse "$@"
  all=no
  ((${#models[@]})) || all=yes
  choose_models
  run_step system
  run_step storage
  set_up_host
  run_step sources
  run_step environments
  run_step checkpoints
  print_summary
  [[ $incomplete == no ]] || exit 1
}

main "$@"
