#!/usr/bin/env bash
# Backs a VM up over the older routes, waits for the end and prints the file: older-backup.sh VM full|incremental
set -euo pipefail
. "$(dirname "$0")/hub.sh"
vm=$1 type=$2

RESPONSE=$(api POST /backup/start "{\"vm_name\":\"$vm\",\"backup_type\":\"$type\",\"repository\":\"local\"}")
BACKUP_ID=$(echo "$RESPONSE" | jq -r .backup_id)
[ "$BACKUP_ID" != null ] || die "no backup_id: $RESPONSE"
fields "id backup_id vm_name vm_context_id disk_id backup_type status current_phase repository_id file_path qcow2_path \
nbd_export_name nbd_targets_string parent_backup_id change_id fallback_reason bytes_transferred total_bytes size_bytes \
progress_percent transfer_speed_bps eta_seconds last_telemetry_at error_message tags notes protected compression_enabled \
created_at started_at completed_at disk_results" <<< "$RESPONSE"

STATUS=
for _ in $(seq 1 600); do
  RESPONSE=$(api GET "/backup/$BACKUP_ID")
  STATUS=$(echo "$RESPONSE" | jq -r .status)
  case $STATUS in
    completed) break ;;
    failed | cancelled) die "backup $STATUS: $(echo "$RESPONSE" | jq -r .error_message)" ;;
    pending | running | stalled) sleep 0.1 ;;
    *) die "status $STATUS" ;;
  esac
done
[ "$STATUS" = completed ] || die "$BACKUP_ID does not end"

FILE=$(echo "$RESPONSE" | jq -r .file_path)
EXPORT=$(echo "$RESPONSE" | jq -r .nbd_export_name)
[ "${#EXPORT}" -lt 64 ] || die "the export name $EXPORT is too long"
check '.success == null and .backup == null' <<< "$RESPONSE"
check '.backup_id == .id and .file_path == .qcow2_path and .disk_id == 0' <<< "$RESPONSE"
check ".vm_name == \"$vm\" and .backup_type == \"$type\" and .current_phase == \"completed\"" <<< "$RESPONSE"
check '.progress_percent == 100 and .total_bytes > 0 and .bytes_transferred > 0 and .size_bytes > 0' <<< "$RESPONSE"
check '.error_message == null and (.completed_at | fromdateiso8601? // (sub("\\.[0-9]+Z$"; "Z") | fromdateiso8601)) > 0' \
  <<< "$RESPONSE"
check ".file_path | endswith(\".qcow2\") and contains(\"/$vm/disk-0/\")" <<< "$RESPONSE"
fields "disk_id disk_key name status size_bytes capacity_bytes bytes_transferred progress_percent file_path \
nbd_export_name nbd_port change_id blake3 error_message" '.disk_results[0]' <<< "$RESPONSE"
check '.disk_results[0].disk_key == 2000 and .bytes_transferred == (.disk_results | map(.bytes_transferred) | add)' \
  <<< "$RESPONSE"

api GET "/backup/list?vm_name=$vm&status=completed" |
  check '(.total == (.backups | length)) and (.backups[0].backup_id == $id)' --arg id "$BACKUP_ID"
api GET "/backup/list?vm_name=$vm&backup_type=$type" |
  check 'all(.backups[]; .backup_type == $type)' --arg type "$type"
echo "$BACKUP_ID $FILE"
