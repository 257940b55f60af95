#!/usr/bin/env bats
# shellcheck disable=SC2016,SC2030,SC2031,SC2154  # stand-ins expand later; every test is a subshell; run sets output
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

@test "empty folders of an earlier run make room for links, files do not" {
  storage --no-rc
  printf 'mine' >admlops_repository/data/mmdet/mine
  run storage --disk "$DISK" --no-rc
  [ "$status" -eq 0 ]
  [ -L admlops_repository/checkpoints ]
  [ ! -L admlops_repository/data ]
  has_line "admlops_repository/data holds files"
  [ "$(cat admlops_repository/data/mmdet/mine)" = mine ]
}

@test "a link to elsewhere stays, a broken one is mended" {
  mkdir "$BATS_TEST_TMPDIR/elsewhere"
  ln -s "$BATS_TEST_TMPDIR/elsewhere" admlops_repository/data
  ln -s /nowhere admlops_repository/packs
  run storage --disk "$DISK" --no-rc
  [ "$status" -eq 0 ]
  has_line "left as it is"
  [ "$(readlink admlops_repository/data)" = "$BATS_TEST_TMPDIR/elsewhere" ]
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
  grep -q ADMLOPS_PATH "$HOME/.profile"
  storage --rc "$HOME/own/rc"
  grep -q ADMLOPS_PATH "$HOME/own/rc"
  [ ! -e "$HOME/.bashrc" ]
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
