#!/usr/bin/env bash
# Cuts one fifth of the mixed disk's range into a disk of its own.
#
#   benches/small-disk.sh MIXED TARGET NUMBER
set -euo pipefail
mixed=${1:?}; target=${2:?}; number=${3:?}
dd if="$mixed" of="$target" bs=1M skip=$((number * 800)) count=800 conv=sparse status=none
truncate -s 800M "$target"
