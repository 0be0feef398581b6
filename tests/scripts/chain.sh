#!/usr/bin/env bash
# Prints how many points the chain of a VM's disk has, and their files, oldest first: chain.sh VM
set -euo pipefail
. "$(dirname "$0")/hub.sh"
vm=$1

CHAIN=$(api GET "/backups/$vm/chain?disk_id=0")
fields "success vm_name disk_id chain_id vm_context_id full_backup_id latest_backup_id chain total_size_bytes chain_length \
backup_count" <<< "$CHAIN"
fields "backup_id type backup_type parent_backup_id backing_file size_bytes bytes_transferred status created_at" '.chain[0]' <<< "$CHAIN"
check '.success and .chain_length == (.chain | length) and .backup_count == .chain_length' <<< "$CHAIN"
check '.total_size_bytes == (.chain | map(.size_bytes) | add)' <<< "$CHAIN"
check '.chain[0].backing_file == null and all(.chain[1:][]; .backing_file != null and .parent_backup_id != null)' <<< "$CHAIN"

# Every file stands on the one that the hub says.
jq -r '.chain[] | [.backup_id, .backing_file // "-"] | @tsv' <<< "$CHAIN" | while IFS=$'\t' read -r id backing; do
  file=$(api GET "/backups/$id" | jq -r .backup.file_path)
  actual=$(qemu-img info -U --output=json "$file" | jq -r '."full-backing-filename" // "-"')
  [ "$actual" = "$backing" ] || [ "$(realpath "$actual")" = "$(realpath "$backing")" ] || die "$file stands on $actual, not $backing"
  echo "$file"
done > "$ANSWER"
echo "$CHAIN" | jq -r .chain_length
cat "$ANSWER"
