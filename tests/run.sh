#!/usr/bin/env bash
# Passes every test. Installs the system packages that the tests need (as root or with sudo), says which,
# and skips loudly what it can't install; with SENDENSE_REQUIRE_ALL=1 a skip is a failure.
#
#   tests/run.sh              everything
#   tests/run.sh NAME…        only the tests whose names contain one of these words
set -euo pipefail
cd "$(dirname "$0")/.."

require_all=${SENDENSE_REQUIRE_ALL:-0}
skipped=()

say() { printf '\n== %s\n' "$*" >&2; }
skip() {
  skipped+=("$*")
  printf 'SKIPPED: %s\n' "$*" >&2
  [ "$require_all" != 1 ] || { echo "SENDENSE_REQUIRE_ALL=1 is set, so this is a failure." >&2; exit 1; }
}

# program -> Debian package
declare -A packages=(
  [cc]=build-essential [qemu-img]=qemu-utils [qemu-nbd]=qemu-utils [qemu-storage-daemon]=qemu-utils
  [qemu-io]=qemu-utils [qemu-system-x86_64]=qemu-system-x86
  [nbdkit]=nbdkit [nbdcopy]=libnbd-bin [nbdinfo]=libnbd-bin [mkfs.ext4]=e2fsprogs [debugfs]=e2fsprogs
  [sgdisk]=gdisk [openssl]=openssl [tmux]=tmux [jq]=jq [zsh]=zsh [fish]=fish [mandoc]=mandoc
  [sqlite3]=sqlite3 [shellcheck]=shellcheck [pgrep]=procps [setpriv]=util-linux [blkid]=util-linux
  [sfdisk]=fdisk [losetup]=mount [mkfs.xfs]=xfsprogs [xfs_io]=xfsprogs [mkfs.btrfs]=btrfs-progs [mkntfs]=ntfs-3g
  [mkfs.vfat]=dosfstools [mkfs.exfat]=exfatprogs [mount.exfat-fuse]=exfat-fuse [mcopy]=mtools
  [xorriso]=xorriso [genisoimage]=genisoimage [mkudffs]=udftools [lvcreate]=lvm2 [mdadm]=mdadm
  [mkfs.erofs]=erofs-utils [mkfs.f2fs]=f2fs-tools [mkfs.jfs]=jfsutils [mkfs.nilfs2]=nilfs-tools
  [mkfs.reiserfs]=reiserfsprogs [mksquashfs]=squashfs-tools [grub-mount]=grub-common
  [reged]=chntpw [wimcapture]=wimtools [cryptsetup]=cryptsetup-bin [python3]=python3 [chattr]=e2fsprogs [unshare]=util-linux [setfattr]=attr [setcap]=libcap2-bin [setfacl]=acl [hivexsh]=libhivex-bin [fusermount3]=fuse3
  [mariadbd]=mariadb-server [mariadb-install-db]=mariadb-server [mariadb]=mariadb-client
  [bsdtar]=libarchive-tools [unzip]=unzip [curl]=curl [getfattr]=attr
  [systemd-analyze]=systemd [zstd]=zstd [ip]=iproute2 [ss]=iproute2 [nsenter]=util-linux
  [promtool]=prometheus [prometheus]=prometheus [dbus-run-session]=dbus-daemon [gnome-keyring-daemon]=gnome-keyring
)

install_packages() {
  local missing=() wanted=() program
  for program in "${!packages[@]}"; do
    PATH=$PATH:/usr/sbin:/sbin command -v "$program" >/dev/null || { missing+=("$program"); wanted+=("${packages[$program]}"); }
  done
  [ "${#missing[@]}" -gt 0 ] || return 0
  mapfile -t wanted < <(printf '%s\n' "${wanted[@]}" | sort -u)
  say "installing Debian packages: ${wanted[*]}  (for: ${missing[*]})"
  local as_root=()
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { skip "no root and no sudo: can't install ${wanted[*]}"; return 0; }
    as_root=(sudo)
  fi
  command -v apt-get >/dev/null || { skip "no apt-get here: install by hand ${wanted[*]}"; return 0; }
  export DEBIAN_FRONTEND=noninteractive
  # A server that comes with a package must not be started: the tests run their own.
  local policy=/usr/sbin/policy-rc.d ours=0
  if [ ! -e "$policy" ]; then
    ours=1
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null && "${as_root[@]}" chmod 755 "$policy"
  fi
  local install=("${as_root[@]}" apt-get install -y -qq --no-install-recommends) package
  "${as_root[@]}" apt-get update -qq || skip "apt-get update fails"
  if ! "${install[@]}" "${wanted[@]}" >/dev/null; then
    # Together they may contradict what is installed from elsewhere; one after the other, the later replaces it.
    for package in "${wanted[@]}"; do "${install[@]}" "$package" >/dev/null || skip "apt-get could not install $package"; done
  fi
  [ "$ours" = 0 ] || "${as_root[@]}" rm -f "$policy"
}

install_cargo_tool() { # cargo subcommand, crate, options of cargo install
  cargo "$1" --version >/dev/null 2>&1 && return 0
  say "installing $2 with cargo"
  cargo install --quiet --locked "${@:3}" "$2" || { skip "cargo could not install $2"; return 1; }
}

# schemathesis of one version, in an environment of its own; only the command itself is put on the search path.
install_schemathesis() {
  local version=4.32.5 folder=$PWD/target/schemathesis as_root=()
  if ! "$folder/venv/bin/schemathesis" --version 2>/dev/null | grep -qF "$version"; then
    say "installing schemathesis $version into $folder"
    if ! python3 -c 'import ensurepip' 2>/dev/null; then
      [ "$(id -u)" = 0 ] || as_root=(sudo)
      "${as_root[@]}" apt-get install -y -qq --no-install-recommends python3-venv >/dev/null || skip "apt-get could not install python3-venv"
    fi
    rm -rf "$folder"
    mkdir -p "$folder/bin"
    if ! { python3 -m venv "$folder/venv" && "$folder/venv/bin/pip" install --quiet "schemathesis==$version"; }; then
      skip "pip could not install schemathesis $version"
      return 0
    fi
    ln -sf ../venv/bin/schemathesis "$folder/bin/schemathesis"
  fi
  export PATH=$folder/bin:$PATH
}

install_packages
# Once more: installing one package may have removed another (qemu-system-x86 and a qemu-utils of another release).
install_packages
export PATH=$PATH:/usr/sbin:/sbin
install_schemathesis

if [ $# -gt 0 ]; then
  exec cargo nextest run --workspace "$@"
fi

say "format"
cargo fmt --all --check

say "shell scripts"
if command -v shellcheck >/dev/null; then
  shellcheck tests/run.sh tests/scripts/*.sh tests/corpus/*.sh examples/*.sh benches/*.sh fuzz/*.sh .ci/run
else
  skip "shellcheck"
fi

say "alerts"
if command -v promtool >/dev/null; then
  promtool check rules packaging/prometheus/*.yml >/dev/null
else
  skip "promtool"
fi

say "lints"
cargo clippy --workspace --all-targets --quiet -- -D warnings

say "licences and sources of the dependencies"
# It runs for a second: what it would gain from being optimised, building it so would cost many times over.
if install_cargo_tool deny cargo-deny --debug; then
  cargo deny --log-level error check licenses bans sources
fi

say "tests"
if install_cargo_tool nextest cargo-nextest; then
  cargo nextest run --workspace --no-fail-fast
else
  cargo test --workspace --no-fail-fast
fi

# The same program tests once more, with a hub in another process: at its socket, and over TLS with a token. Without those that
# start hubs of their own, or never ask one.
for hub in unix tls; do
  say "the commands against a hub: $hub"
  remote='not test(/^(architecture|corpus|cut|hub|kill|mariadb|push|schema|scripts)::/)'
  if cargo nextest --version >/dev/null 2>&1; then
    SENDENSE_TEST_HUB=$hub cargo nextest run --workspace --test main --no-fail-fast -E "package(sendense-ctl) & $remote"
  else
    SENDENSE_TEST_HUB=$hub cargo test --package sendense-ctl --test main
  fi
done

say "hostile images, and the corpora of the fuzz targets"
fuzz=(--quiet --manifest-path fuzz/Cargo.toml --target-dir target)
cargo fmt --manifest-path fuzz/Cargo.toml --check
cargo test "${fuzz[@]}"
cargo build "${fuzz[@]}" --bins
for corpus in fuzz/corpus/*; do
  log=$(mktemp)
  if ! "target/debug/${corpus##*/}" -timeout=60 -rss_limit_mb=1024 "$corpus"/* > "$log" 2>&1; then
    tail -n 60 "$log" >&2
    echo "The fuzz target ${corpus##*/} fails on an input of its corpus: see above." >&2
    exit 1
  fi
  rm "$log"
done

say "documentation"
cargo test --workspace --doc --quiet
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet

if [ "${#skipped[@]}" -gt 0 ]; then
  printf '\nPassed, but skipped:\n' >&2
  printf '  %s\n' "${skipped[@]}" >&2
else
  printf '\nPassed, nothing skipped.\n' >&2
fi
