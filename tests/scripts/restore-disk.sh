#!/usr/bin/env bash
# Restores a disk to a file, and serves it: restore-disk.sh ID TARGET
set -euo pipefail
. "$(dirname "$0")/hub.sh"
id=$1 target=$2

BODY="{\"backup_id\":\"$id\",\"disk_id\":0,\"target\":\"file://$target\",\"format\":\"raw\",\"verify\":true,\"overwrite\":false}"
JOB=$(api POST /restore/disk "$BODY" | jq -r .job.id)
while :; do
  api GET "/jobs/$JOB" > "$ANSWER"
  case $(jq -r .job.status "$ANSWER") in
    completed) break ;;
    failed | cancelled) die "$(jq -r .job.error_message "$ANSWER")" ;;
  esac
  sleep 0.1
done
[ "$(status POST /restore/disk -H "Content-Type: application/json" -d "$BODY")" = 409 ] || die "written over: $(cat "$ANSWER")"

EXPORT=$(api POST /restore/export "{\"backup_id\":\"$id\",\"disk_id\":0,\"writable_overlay\":false}")
fields "export_id nbd_uri expires_at" <<< "$EXPORT"
URI=$(jq -r .nbd_uri <<< "$EXPORT")
qemu-img compare -f raw -F raw "$URI" "$target" > /dev/null || die "$URI is not $target"
api DELETE "/restore/$(jq -r .export_id <<< "$EXPORT")" | check .message
