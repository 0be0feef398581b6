#!/usr/bin/env bash
# Finds a file in all points of a VM, and compares two of them: search.sh VM FIRST SECOND
set -euo pipefail
. "$(dirname "$0")/hub.sh"

api GET "/search/files?vm_name=$1&pattern=**/hostname" |
  check 'any(.files[]; .path | endswith("/etc/hostname")) and .total >= 1'
api GET "/backups/$2/diff/$3?path=/" | check '.success and any(.changes[]; .path | endswith("/etc/motd"))'
