#!/usr/bin/env bash
# Backs a VM up, waits for the end and prints the file: backup.sh VM full|incremental|differential|auto
set -euo pipefail
. "$(dirname "$0")/hub.sh"
vm=$1 type=$2

# The default one, once there is one.
REPOSITORY=$(api GET /repositories | jq '[.repositories[] | select(.default) | .id][0]')
RESPONSE=$(api POST /backups "{\"vm_name\":\"$vm\",\"backup_type\":\"$type\",\"repository_id\":$REPOSITORY,\"disk_id\":0,
  \"tags\":{\"test\":\"e2e\"},\"compression\":\"zstd\",\"on_cbt_loss\":\"full\",\"policy_id\":null,\"timeout_seconds\":14400,
  \"bandwidth_limit_bps\":null,\"dry_run\":false}")
check '.success == true and .message == "Backup started successfully"' <<< "$RESPONSE"
BACKUP_ID=$(echo "$RESPONSE" | jq -r .backup.id)
check '.backup.backup_id == $id and (.backup.status | IN("pending", "running", "completed"))' --arg id "$BACKUP_ID" \
  <<< "$RESPONSE"

while :; do
  RESPONSE=$(api GET "/backups/$BACKUP_ID")
  STATUS=$(echo "$RESPONSE" | jq -r .backup.status)
  case $STATUS in
    completed) break ;;
    pending | running | stalled) sleep 0.1 ;;
    *) die "backup $STATUS: $(echo "$RESPONSE" | jq -r .backup.error_message)" ;;
  esac
done
fields "id backup_id vm_name vm_context_id disk_id backup_type status current_phase repository_id file_path qcow2_path \
nbd_export_name nbd_targets_string parent_backup_id change_id fallback_reason bytes_transferred total_bytes size_bytes \
progress_percent transfer_speed_bps eta_seconds last_telemetry_at error_message tags notes protected compression_enabled \
created_at started_at completed_at disk_results" .backup <<< "$RESPONSE"
check '.backup | .tags.test == "e2e" and .compression_enabled' <<< "$RESPONSE"
REPOSITORY=$(jq -r .backup.repository_id <<< "$RESPONSE")
api GET "/repositories/$REPOSITORY" | check '.repository.default and .repository.backup_count >= 1'

# It is the newest, and every filter finds it.
for query in "vm_name=$vm" "repository_id=$REPOSITORY&limit=1" "status=completed&tag=test%3De2e&offset=0" "tag=test&vm_name=$vm" \
  "since=2020-01-01T00:00:00Z&vm_name=$vm" "backup_type=$(jq -r .backup.backup_type <<< "$RESPONSE")&limit=5"; do
  [ "$(api GET "/backups?$query" | jq -r '.backups[0].id')" = "$BACKUP_ID" ] || die "$BACKUP_ID is not the first of $query"
done
api GET "/backups?vm_name=$vm&until=2020-01-01T00:00:00Z" | check '.success and .total == 0 and .backups == []'

# Watching what has ended tells its final state at once.
curl -sS -N --max-time 30 -H "Authorization: Bearer $TOKEN" "$API/backups/$BACKUP_ID/events" | grep -x 'event: final' >/dev/null ||
  die "no final event"
echo "$BACKUP_ID $(echo "$RESPONSE" | jq -r .backup.file_path)"
