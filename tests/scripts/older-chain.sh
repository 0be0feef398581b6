#!/usr/bin/env bash
# Prints how many points the chain of a VM has, and their ids, oldest first: older-chain.sh VM
set -euo pipefail
. "$(dirname "$0")/hub.sh"
vm=$1

CHAIN=$(api GET "/backup/chain?vm_name=$vm")
fields "chain_id vm_context_id vm_name disk_id full_backup_id latest_backup_id backups total_size_bytes backup_count" <<< "$CHAIN"
check '.backup_count == (.backups | length) and .total_size_bytes == (.backups | map(.size_bytes) | add)' <<< "$CHAIN"
check '.full_backup_id == .backups[0].backup_id and .latest_backup_id == .backups[-1].backup_id' <<< "$CHAIN"
check '.chain_id == .vm_context_id + "-disk0-chain"' <<< "$CHAIN"
check '.backups[0] | .backup_type == "full" and .type == "full" and .parent_backup_id == null' <<< "$CHAIN"

# The same by the context's id, which older scripts have kept.
CONTEXT=$(jq -r .vm_context_id <<< "$CHAIN")
[ "$(api GET "/backup/chain?vm_context_id=$CONTEXT&disk_id=0" | jq -S .)" = "$(jq -S . <<< "$CHAIN")" ] || die "another chain"

echo "$CHAIN" | jq -r .backup_count
echo "$CHAIN" | jq -r '.backups[].backup_id'
