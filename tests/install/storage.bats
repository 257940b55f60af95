#!/usr/bin/env bats
# shellcheck disable=SC2016,SC2030,SC2031,SC2086,SC2154  # stand-ins expand later; every test is a subshell; run sets output
# install/storage.sh: links and the rc file, in a home and on a disk of the test's own.

load helper

setup() {
  make_checkout
}

storage() { ./install/storage.sh "$@"; }

@test "help has an example, and a wrong option says where help is" {
  run storage --help
  [ "$status" -eq 0 ]
  has_line "Example:"
  run storage --nope
  [ "$status" -eq 2 ]
  has_line "./install/storage.sh --help"
  run storage --disk
  [ "$status" -eq 2 ]
  has_line "--disk needs a value"
}

@test "without a large disk everything stays in the checkout" {
  run storage --no-rc
  [ "$status" -eq 0 ]
  [ -d admlops_repository/checkpoints/mmdet3d ]
  [ -d admlops_repository/data/mmdet ]
  [ ! -L admlops_repository/data ]
  [ ! -e "$HOME/.bashrc" ]
}

@test "with a large disk the folders are there and the checkout leads to them" {
  run storage --disk "$DISK" --no-rc
  [ "$status" -eq 0 ]
  has_line "large files are in $DISK/admlops_repository"
  [ -d "$DISK/admlops_repository/checkpoints/mmdet" ]
  [ "$(readlink admlops_repository/checkpoints)" = "$DISK/admlops_repository/checkpoints" ]
  [ -d admlops_repository/data/mmdet3d ]
  touch admlops_repository/data/mmdet/x
  [ -e "$DISK/admlops_repository/data/mmdet/x" ]
}

@test "a checkout on the large disk needs no links" {
  run storage --disk "$BATS_TEST_TMPDIR" --no-rc
  [ "$status" -eq 0 ]
  has_line "large files are in $CHECKOUT/admlops_repository"
  [ ! -L admlops_repository/data ]
}

# What a demo leaves in the checkout before there is a large disk.
leave_work() {
  storage --no-rc
  mkdir -p admlops_repository/runs/first/records admlops_repository/comparisons/1 admlops_repository/cache/uv
  echo '{}' >admlops_repository/runs/first/run.json
  echo 'records' >admlops_repository/runs/first/records/scene.jsonl
  echo 'page' >admlops_repository/comparisons/1/report.html
  echo 'wheel' >admlops_repository/cache/uv/wheel
  mkdir -p admlops_repository/data/synthetic
  echo 'scenes' >admlops_repository/data/synthetic/synthetic.json
}

# A folder that is on another file system than the checkout, if this machine has one.
other_disk() {
  OTHER=$(mktemp -d /dev/shm/admlops.XXXXXX 2>/dev/null) || skip "needs /dev/shm"
  [ "$(stat -c %d "$OTHER")" != "$(stat -c %d "$CHECKOUT")" ] || skip "needs another file system"
}

teardown() { [[ ! -d ${OTHER:-} ]] || rm -rf "$OTHER"; }

shows_the_work() { # repository
  [ "$(cat "$1/runs/first/records/scene.jsonl")" = records ]
  [ "$(cat "$1/comparisons/1/report.html")" = page ]
  [ "$(cat "$1/cache/uv/wheel")" = wheel ]
  [ "$(cat "$1/data/synthetic/synthetic.json")" = scenes ]
}

@test "what the checkout holds is in the one repository on the large disk, and the checkout shows it" {
  leave_work
  run storage --disk "$DISK" --no-rc
  [ "$status" -eq 0 ]
  has_line "moved what was in $CHECKOUT/admlops_repository/runs to $DISK/admlops_repository/runs: 1"
  shows_the_work "$DISK/admlops_repository"
  shows_the_work admlops_repository
  for name in checkpoints data wheels packs runs comparisons cache artifacts; do
    [ "$(readlink "admlops_repository/$name")" = "$DISK/admlops_repository/$name" ]
  done
  run storage --no-rc
  [ "$status" -eq 0 ]
  lacks_line moved
  shows_the_work "$DISK/admlops_repository"
}

@test "a disk of another file system gets it too" {
  leave_work
  other_disk
  run storage --disk "$OTHER" --no-rc
  [ "$status" -eq 0 ]
  shows_the_work "$OTHER/admlops_repository"
  shows_the_work admlops_repository
  [ -L admlops_repository/runs ]
  [ -z "$(find "$OTHER" -name '.moving-*')" ]
}

@test "a move that was killed goes on, wherever it was killed" {
  leave_work
  other_disk
  repository=$OTHER/admlops_repository
  # Killed while it copied comparisons, and after it had copied the runs but removed only some of them here.
  mkdir -p "$repository/comparisons/.moving-1" "$repository/runs" "$repository/checkpoints"
  echo 'pa' >"$repository/comparisons/.moving-1/report.html"
  cp -a admlops_repository/runs/first "$repository/runs/"
  rm admlops_repository/runs/first/run.json
  echo "$repository" >admlops_repository/.moving-to
  run storage --no-rc
  [ "$status" -eq 0 ]
  has_line "large files are in $repository"
  shows_the_work "$repository"
  shows_the_work admlops_repository
  [ -e "$repository/runs/first/run.json" ]
  [ ! -e admlops_repository/runs.before ]
  [ ! -e admlops_repository/.moving-to ]
  [ -z "$(find "$OTHER" -name '.moving-*')" ]
}

@test "a kill while it copies loses nothing" {
  leave_work
  other_disk
  stand_in "$BATS_TEST_TMPDIR/bin/cp" '[[ $1 != -a || $3 != */runs/* ]] || kill -KILL $PPID' '/bin/cp "$@"'
  PATH=$BATS_TEST_TMPDIR/bin:$PATH run storage --disk "$OTHER" --no-rc
  [ "$status" -ne 0 ]
  [ "$(cat admlops_repository/runs/first/records/scene.jsonl)" = records ]
  run storage --no-rc
  [ "$status" -eq 0 ]
  shows_the_work "$OTHER/admlops_repository"
  shows_the_work admlops_repository
}

@test "two things of one name are both kept" {
  leave_work
  mkdir -p "$DISK/admlops_repository/runs/first"
  echo 'another' >"$DISK/admlops_repository/runs/first/run.json"
  run storage --disk "$DISK" --no-rc
  [ "$status" -eq 0 ]
  has_line "the checkout's is kept as $CHECKOUT/admlops_repository/runs.before/first"
  [ "$(cat "$DISK/admlops_repository/runs/first/run.json")" = another ]
  [ "$(cat admlops_repository/runs.before/first/records/scene.jsonl)" = records ]
  [ -L admlops_repository/runs ]
}

@test "a run that is being written stays until it is done" {
  leave_work
  touch admlops_repository/runs/first/run.lock
  exec 8<admlops_repository/runs/first/run.lock
  flock 8
  run storage --disk "$DISK" --no-rc
  [ "$status" -eq 0 ]
  has_line "runs/first is in use"
  [ "$(cat admlops_repository/runs/first/records/scene.jsonl)" = records ]
  exec 8<&-
  run storage --no-rc
  [ "$status" -eq 0 ]
  shows_the_work "$DISK/admlops_repository"
}

@test "a disk without room for what would be moved is refused before anything is touched" {
  leave_work
  other_disk
  stand_in "$BATS_TEST_TMPDIR/bin/df" "printf 'Filesystem 1024-blocks Used Available\\n/dev/x 20971520 20971519 1\\n'"
  PATH=$BATS_TEST_TMPDIR/bin:$PATH run storage --disk "$OTHER" --no-rc
  [ "$status" -eq 2 ]
  has_line "choose another --disk"
  shows_the_work admlops_repository
  [ -z "$(ls "$OTHER")" ]
}

@test "a link of the user's inside a folder leads to the same place afterwards" {
  storage --no-rc
  mkdir "$BATS_TEST_TMPDIR/mine"
  ln -s ../../../mine admlops_repository/data/nuscenes
  storage --disk "$DISK" --no-rc
  [ "$(readlink -f admlops_repository/data/nuscenes)" = "$(readlink -f "$BATS_TEST_TMPDIR/mine")" ]
}

@test "what an earlier disk holds stays there and is shown by the new one" {
  leave_work
  storage --disk "$DISK" --no-rc
  mkdir "$BATS_TEST_TMPDIR/second"
  run storage --disk "$BATS_TEST_TMPDIR/second" --no-rc
  [ "$status" -eq 0 ]
  shows_the_work "$DISK/admlops_repository"
  shows_the_work "$BATS_TEST_TMPDIR/second/admlops_repository"
  shows_the_work admlops_repository
}

@test "a link to elsewhere stays, a broken one is mended" {
  mkdir "$BATS_TEST_TMPDIR/elsewhere"
  ln -s "$BATS_TEST_TMPDIR/elsewhere" admlops_repository/data
  ln -s /nowhere admlops_repository/packs
  run storage --disk "$DISK" --no-rc
  [ "$status" -eq 0 ]
  has_line "left as it is"
  [ "$(readlink admlops_repository/data)" = "$BATS_TEST_TMPDIR/elsewhere" ]
  [ "$(readlink "$DISK/admlops_repository/data")" = "$BATS_TEST_TMPDIR/elsewhere" ]
  [ "$(readlink admlops_repository/packs)" = "$DISK/admlops_repository/packs" ]
}

@test "the rc file is written once, and a second disk replaces the first" {
  printf 'alias ll="ls -l"' >"$HOME/.bashrc"
  chmod 600 "$HOME/.bashrc"
  run storage --disk "$DISK"
  [ "$status" -eq 0 ]
  has_line "source $HOME/.bashrc"
  cp "$HOME/.bashrc" first
  run storage --disk "$DISK"
  lacks_line "source $HOME/.bashrc"
  cmp first "$HOME/.bashrc"
  mkdir "$BATS_TEST_TMPDIR/second disk"
  storage --disk "$BATS_TEST_TMPDIR/second disk"
  [ "$(grep -c ADMLOPS_REP_PATH "$HOME/.bashrc")" -eq 1 ]
  [ "$(grep -c '>>> admlops >>>' "$HOME/.bashrc")" -eq 1 ]
  [ "$(stat -c %a "$HOME/.bashrc")" = 600 ]
  run env -u ADMLOPS_PATH bash -c 'set -u; source "$HOME/.bashrc"; echo "$ADMLOPS_PATH|$ADMLOPS_REP_PATH"; alias ll'
  has_line "$CHECKOUT|$BATS_TEST_TMPDIR/second disk/admlops_repository"
  has_line "ls -l"
}

@test "a later run keeps the disk, another disk is taken when it is asked for" {
  storage --disk "$DISK" --no-rc
  run storage --no-rc
  [ "$status" -eq 0 ]
  has_line "large files are in $DISK/admlops_repository"
  lacks_line "stays there"
  mkdir "$BATS_TEST_TMPDIR/second"
  run storage --disk "$BATS_TEST_TMPDIR/second" --no-rc
  has_line "what was kept in $DISK/admlops_repository/data stays there"
  [ "$(readlink admlops_repository/data)" = "$BATS_TEST_TMPDIR/second/admlops_repository/data" ]
  [ -d "$DISK/admlops_repository/data/mmdet" ]
}

@test "what follows the block stays, a link to the rc file stays a link" {
  mkdir "$HOME/dotfiles"
  printf 'before\n' >"$HOME/dotfiles/rc"
  ln -s dotfiles/rc "$HOME/.bashrc"
  storage
  printf 'after\n' >>"$HOME/.bashrc"
  storage --disk "$DISK"
  [ -L "$HOME/.bashrc" ]
  [ "$(grep -cE '^(before|after)$' "$HOME/dotfiles/rc")" -eq 2 ]
}

@test "a block without its end is not guessed at" {
  printf '# >>> admlops >>>\nexport X=1\nprecious\n' >"$HOME/.bashrc"
  cp "$HOME/.bashrc" before
  run storage
  [ "$status" -eq 2 ]
  has_line "only one of the lines"
  cmp before "$HOME/.bashrc"
}

@test "zsh and other shells have their own rc files" {
  SHELL=/usr/bin/zsh storage
  grep -q ADMLOPS_PATH "$HOME/.zshrc"
  SHELL=/usr/bin/fish storage
  grep -q ADMLOPS_PATH "$HOME/.config/fish/config.fish"
  SHELL=/bin/dash storage
  grep -q ADMLOPS_PATH "$HOME/.profile"
  storage --rc "$HOME/own/rc"
  grep -q ADMLOPS_PATH "$HOME/own/rc"
  [ ! -e "$HOME/.bashrc" ]
}

@test "without a home, or with one that cannot be written, no rc file is" {
  run env -u HOME ./install/storage.sh --disk "$DISK"
  [ "$status" -eq 0 ]
  has_line "HOME is not set"
  has_line "large files are in $DISK/admlops_repository"
  [ "$(id -u)" = 0 ] || skip "needs root, to be another user"
  chmod -R a+rwX "$CHECKOUT" "$DISK"
  local folder
  for folder in "$HOME" "$BATS_TEST_TMPDIR" "$(dirname "$BATS_TEST_TMPDIR")" "$BATS_RUN_TMPDIR"; do chmod 755 "$folder"; done
  as_other="setpriv --reuid=12345 --regid=12345 --clear-groups"
  $as_other test -x "$CHECKOUT/install/storage.sh" || skip "another user may not enter the temporary folder"
  run $as_other ./install/storage.sh --disk "$DISK"
  [ "$status" -eq 0 ]
  has_line "cannot be written, so no rc file is"
  run $as_other ./install/storage.sh --disk "$DISK" --rc "$HOME/rc"
  [ "$status" -eq 2 ]
}

@test "a disk that cannot be used is an error that changes nothing" {
  run storage --disk "$BATS_TEST_TMPDIR/absent"
  [ "$status" -eq 2 ]
  has_line "is no folder that can be written"
  [ ! -e "$HOME/.bashrc" ]
  [ -z "$(ls admlops_repository)" ]
}

@test "a repository path that is set already is kept" {
  ADMLOPS_REP_PATH=$DISK/mine run storage --no-rc --quiet
  [ "$status" -eq 0 ]
  has_line "export ADMLOPS_REP_PATH=$DISK/mine"
  [ -d "$DISK/mine/data/mmdet" ]
}

@test "a checkout on a network disk keeps its environments off it" {
  stand_in "$BATS_TEST_TMPDIR/bin/stat" 'case $* in *"-f -c %T"*) echo fuseblk ;; *) /usr/bin/stat "$@" ;; esac'
  PATH=$BATS_TEST_TMPDIR/bin:$PATH run storage --no-rc --quiet
  [ "$status" -eq 0 ]
  has_line "export ADMLOPS_ENVIRONMENTS=$HOME/.local/share/admlops/environments"
}

@test "a small disk is pointed out" {
  stand_in "$BATS_TEST_TMPDIR/bin/df" "printf 'Filesystem 1024-blocks Used Available\\n/dev/x 20971520 10485760 10485760\\n'"
  PATH=$BATS_TEST_TMPDIR/bin:$PATH run storage --no-rc
  [ "$status" -eq 0 ]
  has_line "has 10 GB free"
}
