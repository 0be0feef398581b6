#!/usr/bin/env bash
# Looks at the hub itself, its users and its tokens: service.sh
set -euo pipefail
. "$(dirname "$0")/hub.sh"

curl -sS --fail-with-body "$API/health" > "$ANSWER"
fields "status version catalog repositories uptime_seconds" < "$ANSWER"
check '.status == "healthy"' < "$ANSWER"
curl -sS --fail-with-body "$API/openapi.json" | check '.openapi | startswith("3.")'
curl -sS --fail-with-body "$API/docs" | grep -i '<html' >/dev/null || die "no viewer"
api GET /debug/endpoints | check '.success and any(.debug_data.endpoints[]; .method == "POST" and .path == "/api/v1/backup/start")'

curl -sS --fail-with-body -X POST "$API/auth/login" -d "{\"username\":\"$HUB_USER\",\"password\":\"$HUB_PASSWORD\"}" > "$ANSWER"
fields "token expires_at role" < "$ANSWER"
OTHER=$(jq -r .token "$ANSWER")
api GET /auth/whoami | check '.username == $user and .role == "admin"' --arg user "$HUB_USER"

[ "$(status POST /auth/users -d '{"name":"night","password":"a password for the night","role":"operator"}')" = 201 ] || die "no user"
check '.success and .user.name == "night" and .user.role == "operator"' < "$ANSWER"
api GET /auth/users | check 'any(.users[]; .name == "night")'
api PATCH /auth/users/night '{"role":"viewer","disabled":true}' | check '.user | .role == "viewer" and .disabled'
api DELETE /auth/users/night | check .success

[ "$(status POST /auth/tokens -d '{"name":"cron","role":"operator","vms":["web"],"expires_at":"'"$(date -ud '+1 year' +%FT%TZ)"'"}')" = 201 ] ||
  die "no token: $(cat "$ANSWER")"
CRON=$(jq -r .token "$ANSWER")
CRON_ID=$(jq -r .api_token.id "$ANSWER")
(TOKEN=$CRON && api GET /auth/whoami) | check '.role == "operator" and .vms == ["web"]'
api GET /auth/tokens | check 'any(.tokens[]; .id == $id) and all(.tokens[]; .token == null)' --arg id "$CRON_ID"
api DELETE "/auth/tokens/$CRON_ID" | check .success
[ "$(TOKEN=$CRON status GET /auth/whoami)" = 401 ] || die "a revoked token is taken"

[ "$(TOKEN=$OTHER status POST /auth/logout)" = 200 ] || die "not logged out"
[ "$(TOKEN=$OTHER status GET /auth/whoami)" = 401 ] || die "a token that was logged out is taken"
api GET /audit | check '.total > 0 and any(.entries[]; .action == "token_revoke")'

api GET /vms | check '.success and .total >= 1'
VM=$(api GET /vms | jq -r '.vms[0].name')
api GET "/vms/$VM" | check '.vm.disks[0] | .disk_key == 2000 and has("unit_number") and has("capacity_bytes") and has("backing")'
