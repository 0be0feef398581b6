#!/usr/bin/env bash
# From nothing to a restored disk: builds sendense-ctl, makes a small disk image with a file system, backs it
# up in full, changes it, backs up the change, looks at the chain, verifies it, restores both points and
# compares them with what the disk held. Everything happens in one temporary folder that is removed at the end.
#
#   examples/quickstart.sh [--keep]     --keep leaves the folder, and says where it is
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin:/sbin

for program in cargo mkfs.ext4 debugfs cmp; do
  command -v "$program" >/dev/null || { echo "quickstart: $program is not installed (cargo: rustup; the others: apt-get install e2fsprogs diffutils)" >&2; exit 1; }
done

work=$(mktemp -d "${TMPDIR:-/tmp}/sendense-quickstart.XXXXXX")
if [ "${1:-}" = --keep ]; then
  trap 'echo "Everything is still in $work"' EXIT
else
  trap 'rm -rf "$work"' EXIT
fi

show() { printf '\n$ %s\n' "$*"; "$@"; }
# Shown as a person would type it; run from the build folder.
ctl() { printf '\n$ sendense-ctl %s\n' "$*"; "$binary" "$@"; }

echo "Building sendense-ctl (the first time takes a few minutes) …"
cargo build --release --quiet
binary=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/release/sendense-ctl

# Catalog, default repository and all state go where this says.
export SENDENSE_HOME=$work/state

echo "Making a disk: 256 MiB, ext4, with a web page and some data on it"
disk=$work/web1.raw
mkdir -p "$work/files/var/www"
echo '<?php echo "version 1";' > "$work/files/var/www/index.php"
head -c 20M /dev/urandom > "$work/files/var/data.bin"
truncate -s 256M "$disk"
mkfs.ext4 -q -F -d "$work/files" "$disk"
cp --sparse=always "$disk" "$work/monday.raw"

ctl backup start --vm web1 --source "$disk" --type full

echo; echo "A change on the disk: the page is edited"
echo '<?php echo "version 2";' > "$work/index.php"
debugfs -w -f - "$disk" >/dev/null 2>&1 <<COMMANDS
rm /var/www/index.php
write $work/index.php /var/www/index.php
COMMANDS

ctl backup start --vm web1 --type incremental
ctl backup list --vm web1
ctl backup chain --vm web1
ctl backup verify web1@latest
ctl restore disk web1@latest --to "$work/restored.raw"
ctl restore disk web1@latest~1 --to "$work/restored-monday.raw"

echo
show cmp "$disk" "$work/restored.raw"
show cmp "$work/monday.raw" "$work/restored-monday.raw"
echo
echo "Both points are the disk as it was, byte for byte. The files are plain QCOW2:"
(cd "$work/state" && find . -name '*.qcow2' -exec ls -sh {} +)
