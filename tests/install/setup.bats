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
  has_line "Google Drive lets a file be downloaded only so often"
  has_line "nuScenes: register at"
  has_line "Not everything could be had"
}

@test "weights alone are left to the person and are no failure" {
  stand_in .venv/bin/admlops '[[ $1 != checkpoints ]]'
  run install --model MapTR
  [ "$status" -eq 0 ]
  has_line "missing: MapTR"
  has_line "admlops checkpoints add MODEL NAME FILE"
}

@test "data that are there are not asked for" {
  mkdir -p "$DISK/admlops_repository/data/nuscenes"
  run install --model MapTR
  lacks_line "nuScenes: register"
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
  [ "$output" = "admlops models list" ]
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

@test "a model without an adapter is said to have none" {
  run ./install/check_model.sh MapTR
  [ "$status" -eq 2 ]
  has_line "MapTR has no adapter yet"
  run cat "$CALLS"
  has_line "admlops sources verify MapTR"
  has_line "admlops env verify MapTR"
  run make test-MapTR
  [ "$status" -eq 2 ]
}

@test "a model is checked from its sources to its records" {
  touch envs/MapTR/demo.py
  stand_in .venv/bin/admlops '[[ $1 != checkpoints ]] || echo "[{\"default\": true, \"path\": \"nowhere.pth\"}]"'
  ADMLOPS_REP_PATH=$DISK run ./install/check_model.sh MapTR --full
  [ "$status" -eq 0 ]
  has_line "the weights of MapTR are not fetched: random ones take their place, and the results mean nothing"
  has_line "MapTR works"
  run cat "$CALLS"
  has_line "admlops env verify MapTR --full"
  has_line "admlops data synthesize $DISK/data/synthetic"
  run grep "admlops run MapTR --data $DISK/data/synthetic" "$CALLS"
  [ "$status" -eq 0 ]
  [[ $output == *"--weights random:0" ]]
}

@test "a model that reads OpenLane-V2 is checked on scenes in its layout" {
  touch envs/MapTR/demo.py
  echo 'dataset = "openlanev2"' >>envs/MapTR/model.toml
  stand_in .venv/bin/admlops '[[ $1 != checkpoints ]] || echo "[]"'
  ADMLOPS_REP_PATH=$DISK run ./install/check_model.sh MapTR
  [ "$status" -eq 0 ]
  run cat "$CALLS"
  has_line "admlops data synthesize $DISK/data/synthetic-openlane --format openlane-v2"
  has_line "admlops run MapTR --data $DISK/data/synthetic-openlane"
}

@test "a model is checked in the variant that is asked for" {
  touch envs/MapTR/demo.py
  stand_in .venv/bin/admlops '[[ $1 != checkpoints ]] || echo "[]"'
  ADMLOPS_REP_PATH=$DISK run make test-MapTR VARIANT=classic
  [ "$status" -eq 0 ]
  run cat "$CALLS"
  has_line "admlops env verify MapTR --variant classic"
  has_line "admlops env probe MapTR --variant classic"
  has_line "admlops run MapTR --variant classic --data"
  run ./install/check_model.sh MapTR --variant
  [ "$status" -eq 2 ]
  has_line "--variant wants a name"
}

@test "a model with changed sources or a damaged environment is not run" {
  touch envs/MapTR/demo.py
  stand_in .venv/bin/admlops '[[ $1 != sources ]]'
  run ./install/check_model.sh MapTR
  [ "$status" -eq 2 ]
  stand_in .venv/bin/admlops '[[ $1 != env ]]'
  run ./install/check_model.sh MapTR
  [ "$status" -eq 2 ]
  run grep "admlops run" "$CALLS"
  [ "$status" -ne 0 ]
}

@test "checking needs a model that is there" {
  run ./install/check_model.sh
  [ "$status" -eq 2 ]
  run ./install/check_model.sh Absent
  [ "$status" -eq 2 ]
  has_line "no model is called Absent"
  run ./install/check_model.sh --help
  has_line "Example:"
}

@test "every environment is removed, then what was left" {
  run make clean-envs
  [ "$status" -eq 0 ]
  run cat "$CALLS"
  [ "${lines[0]}" = "admlops env remove --all --purge --yes" ]
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
