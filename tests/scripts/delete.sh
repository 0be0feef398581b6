#!/usr/bin/env bash
# Deletes a backup that others are built on, with them: delete.sh ID
set -euo pipefail
. "$(dirname "$0")/hub.sh"

# Without being told so, what others need is not deleted.
if [ "$(status DELETE "/backups/$1")" = 409 ]; then
  fields "success error code hint details" < "$ANSWER"
  check '.success == false and .code == "has_dependents" and (.details.dependents | length > 0)' < "$ANSWER"
  api GET "/backups/$1" | check '.backup.status == "completed"'
fi
RESPONSE=$(api DELETE "/backups/$1?cascade=true")
fields "success message backup_id freed_bytes" <<< "$RESPONSE"
check '.success and .backup_id == $id and .freed_bytes > 0' --arg id "$1" <<< "$RESPONSE"
[ "$(status GET "/backups/$1")" = 404 ] || die "$1 is still there"
