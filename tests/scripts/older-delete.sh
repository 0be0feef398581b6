#!/usr/bin/env bash
# Deletes a backup over the older routes: older-delete.sh ID
set -euo pipefail
. "$(dirname "$0")/hub.sh"

api DELETE "/backup/$1" | check '.message == "backup deleted successfully" and .backup_id == $id' --arg id "$1"
[ "$(status GET "/backup/$1")" = 404 ] || die "$1 is still there"
