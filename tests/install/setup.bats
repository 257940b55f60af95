#!/usr/bin/env bats
# shellcheck disable=SC2016,SC2030,SC2031,SC2154  # stand-ins expand later; every test is a subshell; run sets output
# install/setup.sh: its steps, what it does when one of them cannot be had, and the make targets. The programs that it
# calls are stand-ins; those have tests of their own.

load helper

setup() {
  make_checkout
  add_model MapTR
  add_model GroundPlane
  mkdir -p envs/official/nuscenes
  touch envs/official/nuscenes/environment.toml
  stand_in install/bootstrap.sh
  stand_in install/system.sh
  stand_in .venv/bin/admlops
  ln -s "$(command -v python3)" .venv/bin/python
  printf '#!/usr/bin/env bash\nexit 0\n' >install/bootstrap.sh
}

install() { ./install/setup.sh --disk "$DISK" --no-rc "$@"; }

@test "help has an example, and mistakes are named" {
  run ./install/setup.sh --help
  [ "$status" -eq 0 ]
  has_line "Example:"
  run ./install/setup.sh --nope
  [ "$status" -eq 2 ]
  run ./install/setup.sh --model Absent
  [ "$status" -eq 2 ]
  has_line "no model is called Absent"
  run ./install/setup.sh --skip everything
  [ "$status" -eq 2 ]
  has_line "the steps are system storage"
  run ./install/setup.sh --model
  [ "$status" -eq 2 ]
  [ ! -e "$CALLS" ]
}

@test "everything is set up in order" {
  run install
  [ "$status" -eq 0 ]
  has_line "Summary"
  has_line "environments   ready        GroundPlane MapTR official/nuscenes"
  has_line "checkpoints    ready"
  run cat "$CALLS"
  [ "${lines[0]}" = "system.sh " ]
  [ "${lines[1]}" = "admlops sources fetch GroundPlane MapTR" ]
  [ "${lines[2]}" = "admlops sources verify GroundPlane MapTR" ]
  [ "${lines[3]}" = "admlops env install GroundPlane" ]
  [ "${lines[5]}" = "admlops env install official/nuscenes" ]
  [ "${lines[7]}" = "admlops checkpoints fetch MapTR" ]
  [ "${lines[8]}" = "admlops models list" ]
  [ "${lines[9]}" = "admlops check --missing GroundPlane MapTR" ]
}

@test "the programs are told where the large files are" {
  stand_in .venv/bin/admlops 'echo "at $ADMLOPS_REP_PATH of $ADMLOPS_PATH"'
  run install
  has_line "at $DISK/admlops_repository of $CHECKOUT"
}

@test "one model, and nothing of the others" {
  run install --model MapTR
  [ "$status" -eq 0 ]
  run cat "$CALLS"
  has_line "admlops env install MapTR"
  lacks_line GroundPlane
  lacks_line official
}

@test "without a network the rest goes on, and what is missing is said" {
  stand_in .venv/bin/admlops 'case "$1 $2" in
    "sources fetch" | "checkpoints fetch") echo "$1 cannot be reached" >&2; exit 2 ;;
    "env install") [[ $3 == GroundPlane ]] || exit 2 ;;
  esac'
  run install
  [ "$status" -eq 1 ]
  has_line "sources        incomplete"
  has_line "environments   incomplete   not ready: MapTR official/nuscenes"
  has_line "checkpoints    by hand      missing: GroundPlane MapTR"
  has_line "Not everything could be had"
}

@test "weights alone are left to the person and are no failure" {
  stand_in .venv/bin/admlops '[[ $1 != checkpoints ]]'
  run install --model MapTR
  [ "$status" -eq 0 ]
  has_line "missing: MapTR"
}

@test "what is left for a person is asked of admlops, for the models that were set up" {
  stand_in .venv/bin/admlops '[[ $1 != check ]] || printf "nuScenes: register\nweights: in a browser\n"'
  run install --model MapTR
  has_line "  - nuScenes: register"
  has_line "  - weights: in a browser"
  run cat "$CALLS"
  has_line "admlops check --missing MapTR"
}

@test "a variant is set up where it is asked for" {
  run make setup-MapTR VARIANT=classic
  [ "$status" -eq 0 ]
  run cat "$CALLS"
  has_line "admlops env install MapTR --variant classic"
  run make setup-MapTR VARIANT=
  [ "$status" -eq 0 ]
  run ./install/setup.sh --variant classic
  [ "$status" -eq 2 ]
  has_line "--model MapTR --variant classic"
}

@test "missing system packages do not stop the rest" {
  stand_in install/system.sh 'exit 1'
  run install --model MapTR
  [ "$status" -eq 1 ]
  has_line "system         incomplete"
  has_line "environments   ready"
}

@test "without the host environment nothing is tried" {
  printf '#!/usr/bin/env bash\nexit 2\n' >install/bootstrap.sh
  run install
  [ "$status" -eq 2 ]
  has_line "without the host environment"
  run grep admlops "$CALLS"
  [ "$status" -ne 0 ]
}

@test "steps can be skipped" {
  run ./install/setup.sh --skip system --skip storage --skip sources --skip environments --skip checkpoints
  [ "$status" -eq 0 ]
  has_line "storage        skipped"
  run cat "$CALLS"
  [ "${lines[0]}" = "admlops models list" ]
}

@test "the make targets call the scripts" {
  run make setup-MapTR
  [ "$status" -eq 0 ]
  run grep "env install MapTR" "$CALLS"
  [ "$status" -eq 0 ]
  run make help
  has_line "make setup-MODEL"
  has_line "make test-MODEL"
  run make env-list
  run grep "admlops env list" "$CALLS"
  [ "$status" -eq 0 ]
}

@test "one model is checked by admlops, in the variant that is asked for" {
  run make test-MapTR
  [ "$status" -eq 0 ]
  run make test-MapTR VARIANT=classic
  [ "$status" -eq 0 ]
  run make test-MapTR VARIANT=
  [ "$status" -eq 0 ]
  run cat "$CALLS"
  [ "${lines[0]}" = "admlops check MapTR" ]
  [ "${lines[1]}" = "admlops check MapTR --variant classic" ]
  [ "${lines[2]}" = "admlops check MapTR" ]
  stand_in .venv/bin/admlops 'exit 1'
  run ./install/check_model.sh MapTR --full
  [ "$status" -eq 1 ]
  run grep "admlops check MapTR --full" "$CALLS"
  [ "$status" -eq 0 ]
}

@test "checking one model needs its name" {
  run ./install/check_model.sh
  [ "$status" -eq 2 ]
  has_line "no model is named"
  run ./install/check_model.sh --help
  has_line "Example:"
  [ ! -e "$CALLS" ]
}

@test "all models are checked by admlops, and options reach it" {
  mkdir runners
  cp "$ROOT/runners/quick_test.sh" runners/
  run make demo
  [ "$status" -eq 0 ]
  run ./runners/quick_test.sh --workers 2 --out "a folder"
  [ "$status" -eq 0 ]
  run cat "$CALLS"
  [ "${lines[0]}" = "admlops check --models GroundPlane" ]
  [ "${lines[1]}" = "admlops check --workers 2 --out a folder" ]
}

@test "every environment is removed, then what was left" {
  run make clean-envs
  [ "$status" -eq 0 ]
  run cat "$CALLS"
  [ "${lines[0]}" = "admlops env remove --all --yes" ]
  [ "${lines[1]}" = "admlops env gc --yes" ]
  run ./install/clean_environments.sh --help
  has_line "Example:"
}

@test "an environment that is in use is said and ends the cleaning" {
  stand_in .venv/bin/admlops '[[ "$1 $2" != "env remove" ]] || { echo "is in use by process 7" >&2; exit 2; }'
  run ./install/clean_environments.sh
  [ "$status" -eq 2 ]
  has_line "is in use"
}

@test "a licence that is not accepted leaves its model out, and a person is told" {
  add_model YOLOv8
  printf 'license = "AGPL-3.0-only"\n' >>envs/YOLOv8/model.toml
  stand_in .venv/bin/admlops '[[ "$*" != *--licence-only || "$*" == *--accept-licence* ]]'
  run install
  [ "$status" -eq 0 ]
  has_line "licences       by hand      not accepted: YOLOv8; see above"
  has_line "environments   ready        GroundPlane MapTR official/nuscenes"
  run install --model YOLOv8 --accept-licence
  [ "$status" -eq 0 ]
  run grep "admlops env install YOLOv8" "$CALLS"
  [ "${lines[0]}" = "admlops env install YOLOv8 --licence-only" ]
  [ "${lines[1]}" = "admlops env install YOLOv8 --licence-only --accept-licence" ]
  [ "${lines[2]}" = "admlops env install YOLOv8" ]
}
