#!/usr/bin/env bash
# What is wrong is refused, in a way that a script can tell: refusals.sh
set -euo pipefail
. "$(dirname "$0")/hub.sh"

# expect STATUS CODE METHOD PATH [curl arguments…]
expect() {
  local wanted=$1 code=$2 got
  shift 2
  got=$(status "$@")
  [ "$got" = "$wanted" ] || die "$1 $2: $got instead of $wanted: $(cat "$ANSWER")"
  fields "success error code hint details" < "$ANSWER"
  check '.success == false and .code == $code and (.error | length > 0) and (.details | type == "object")' --arg code "$code" < "$ANSWER"
}
json=(-H "Content-Type: application/json" -d)

expect 400 invalid_request POST /backups "${json[@]}" '{"backup_type":"full"}'
check '.details.field == "vm_name"' < "$ANSWER"
expect 400 invalid_request POST /backups "${json[@]}" '{"vm_name":"web","backup_type":"weekly"}'
check '.details.field == "backup_type"' < "$ANSWER"
expect 400 invalid_request POST /backups "${json[@]}" '{"vm_name":"web",'
expect 400 invalid_request GET "/backups?limit=1001"
check '.details.field == "limit"' < "$ANSWER"
expect 400 invalid_request GET "/backups?vm=web"
expect 400 invalid_request GET "/backup/chain"
expect 404 backup_not_found GET /backups/backup-none-20200101-000000
expect 404 backup_not_found GET /backup/backup-none-20200101-000000
expect 404 backup_not_found DELETE /backup/backup-none-20200101-000000
expect 404 vm_not_found GET /backups/none/chain
expect 404 vm_not_found GET "/backup/chain?vm_name=none"
expect 404 vm_not_found POST /backup/start "${json[@]}" '{"vm_name":"none","backup_type":"full","repository":"local"}'
expect 404 repository_not_found POST /backup/start "${json[@]}" '{"vm_name":"web","backup_type":"full","repository":"tape"}'
expect 404 backup_not_found POST /restore/mount "${json[@]}" '{"backup_id":"backup-none-20200101-000000"}'
expect 404 mount_not_found GET "/restore/mount-none/files?path=/"
expect 404 not_found GET /no/such/route
expect 405 method_not_allowed PUT /backups
expect 422 unsupported POST /repositories "${json[@]}" '{"name":"far","type":"s3","config":{"bucket":"b"}}'
TOKEN=wrong expect 401 unauthorized GET /backups
head -c 2000000 /dev/zero | tr '\0' ' ' > "$ANSWER.large"
expect 413 payload_too_large POST /backups -H "Content-Type: application/json" -H Expect: --data-binary "@$ANSWER.large"
rm "$ANSWER.large"
