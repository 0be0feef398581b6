#!/usr/bin/env bash
# Labels, protects, verifies, cancels, retries and consolidates: manage.sh VM ID, of which there is a later incremental
set -euo pipefail
. "$(dirname "$0")/hub.sh"
vm=$1 id=$2

wait_for_job() {
  local job=$1
  while :; do
    api GET "/jobs/$job" > "$ANSWER"
    case $(jq -r .job.status "$ANSWER") in
      completed | failed | cancelled) return ;;
    esac
    sleep 0.1
  done
}

api PATCH "/backups/$id" '{"tags":{"keep":"yes"},"notes":"before the upgrade","protected":true}' |
  check '.success and (.backup | .tags.keep == "yes" and .notes == "before the upgrade" and .protected)'
[ "$(status DELETE "/backups/$id?cascade")" = 409 ] || die "a protected point was deleted"
check '.code == "protected"' < "$ANSWER"
api PATCH "/backups/$id" '{"tags":{"keep":null},"notes":null,"protected":false}' |
  check '.backup | .tags.keep == null and .notes == null and (.protected | not)'

JOB=$(api POST "/backups/$id/verify" | jq -r .job.id)
wait_for_job "$JOB"
check '.success and .job.status == "completed" and .job.job_type == "verify"' < "$ANSWER"
api GET "/jobs?limit=5" | check 'any(.jobs[]; .id == $job) and .total >= 1' --arg job "$JOB"

# One that is cancelled leaves nothing, and can be made again.
SLOW=$(api POST /backups "{\"vm_name\":\"$vm\",\"backup_type\":\"full\",\"bandwidth_limit_bps\":65536}" | jq -r .backup.id)
[ "$(status POST "/backups/$SLOW/cancel")" = 202 ] || die "not cancelled: $(cat "$ANSWER")"
wait_for_job "$SLOW"
check '.job.status == "cancelled"' < "$ANSWER"
[ "$(status POST "/backups/$SLOW/retry")" = 202 ] || die "not made again: $(cat "$ANSWER")"
AGAIN=$(jq -r .backup.id "$ANSWER")
[ "$AGAIN" != "$SLOW" ] || die "it is the same one"
[ "$(status POST "/jobs/$AGAIN/cancel")" = 202 ] || die "not cancelled: $(cat "$ANSWER")"
wait_for_job "$AGAIN"
[ "$(status POST "/backups/$AGAIN/cancel")" = 409 ] || die "what has ended was cancelled"

# Telemetry, as agents send it.
BODY="{\"job_type\":\"backup\",\"status\":\"running\",\"current_phase\":\"transferring\",\"bytes_transferred\":1,\"total_bytes\":2,
  \"transfer_speed_bps\":3,\"eta_seconds\":4,\"progress_percent\":50.0,\"timestamp\":\"$(date -u +%FT%TZ)\",
  \"disks\":[{\"disk_index\":0,\"disk_key\":2000,\"bytes_transferred\":1,\"total_bytes\":2,\"progress_percent\":50.0,
  \"status\":\"running\"}],\"error\":null}"
[ "$(status POST "/telemetry/backup/$id" -H "Content-Type: application/json" -d "$BODY")" = 409 ] || die "taken: $(cat "$ANSWER")"
check '.details.status == "completed"' < "$ANSWER"
[ "$(status POST "/telemetry/backup/backup-none-20200101-000000" -H "Content-Type: application/json" -d "$BODY")" = 404 ] ||
  die "taken: $(cat "$ANSWER")"

# The full goes into what stands on it.
api POST "/backups/$vm/chain/consolidate" '{"disk_id":0,"keep_since":"2999-01-01T00:00:00Z"}' > "$ANSWER"
JOB=$(jq -r .job.id "$ANSWER")
wait_for_job "$JOB"
check '.job.status == "completed"' < "$ANSWER"
api GET "/backups/$vm/chain" | check '.chain_length == 1 and .chain[0].type == "full" and .full_backup_id == .latest_backup_id'
