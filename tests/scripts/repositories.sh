#!/usr/bin/env bash
# Makes a repository in a folder, looks at it and removes it: repositories.sh NAME FOLDER
set -euo pipefail
. "$(dirname "$0")/hub.sh"
name=$1 folder=$2

TEST=$(api POST /repositories/test "{\"type\":\"local\",\"config\":{\"disk_path\":\"$folder\"}}")
fields "success checks" <<< "$TEST"
fields "name ok detail" '.checks[0]' <<< "$TEST"
[ "$(status POST /repositories -H "Content-Type: application/json" \
  -d "{\"name\":\"$name\",\"type\":\"local\",\"config\":{\"disk_path\":\"$folder\"},\"immutable\":false,\"default\":false}")" = 201 ] ||
  die "not made: $(cat "$ANSWER")"
check .success < "$ANSWER"
KEYS="id name type repository_type config enabled total_size_bytes available_size_bytes used_size_bytes backup_count created_at updated_at"
fields "$KEYS" .repository < "$ANSWER"
REPO_ID=$(jq -r .repository.id "$ANSWER")
[ "$(status POST /repositories -H "Content-Type: application/json" \
  -d "{\"name\":\"$name\",\"type\":\"local\",\"config\":{\"disk_path\":\"$folder\"}}")" = 409 ] || die "made twice"

api GET /repositories | check '.success and any(.repositories[]; .id == $id)' --arg id "$REPO_ID"
api GET "/repositories/$REPO_ID" | check '.success and .repository.name == $name and .repository.repository_type == "local"' --arg name "$name"
api GET "/repositories/$REPO_ID/storage" |
  check '.success and (.storage | .total_size_bytes > 0 and .available_size_bytes > 0 and .used_size_bytes >= 0)'
api POST /repositories/test "{\"repository_id\":\"$REPO_ID\"}" | check '.success and all(.checks[]; .ok)'
api POST "/repositories/$REPO_ID/scan" | check '.success and .found == 0'
api DELETE "/repositories/$REPO_ID" | check .success
[ "$(status GET "/repositories/$REPO_ID")" = 404 ] || die "it is still there"
