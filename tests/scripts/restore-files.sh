#!/usr/bin/env bash
# Gets files and folders out of a backup: restore-files.sh ID FOLDER
set -euo pipefail
. "$(dirname "$0")/hub.sh"
id=$1 out=$2
mkdir -p "$out"

MOUNT=$(api POST /restore/mount "{\"backup_id\":\"$id\",\"mode\":\"read-only\",\"path\":null,\"disk_id\":null,\"idle_timeout_seconds\":3600}")
fields "mount_id backup_id mount_path nbd_device filesystem_type volumes status expires_at" <<< "$MOUNT"
fields "id filesystem_type label uuid size_bytes mount_point" '.volumes[0]' <<< "$MOUNT"
check '(.mount_id | test("^mount-[0-9a-f-]{36}$")) and .backup_id == $id and .mount_path == null and .status == "mounted"' \
  --arg id "$id" <<< "$MOUNT"
MOUNT_ID=$(echo "$MOUNT" | jq -r .mount_id)
ROOT=$(echo "$MOUNT" | jq -r '.volumes[] | select(.mount_point) | .mount_point' | head -n 1)
ROOT=${ROOT%/}
api GET /restore/mounts | check 'any(.mounts[]; .mount_id == $id)' --arg id "$MOUNT_ID"

get() { curl -sS --fail-with-body -G "$API/restore/$MOUNT_ID/$1" -H "Authorization: Bearer $TOKEN" "${@:2}"; }

get files --data-urlencode "path=$ROOT/" > "$ANSWER"
fields "files total_count" < "$ANSWER"
fields "name path path_b64 size is_directory type modified_time permissions mode uid gid link_target" '.files[0]' < "$ANSWER"
check '.total_count == (.files | length)' < "$ANSWER"
check '.files[] | select(.name == "etc") | .is_directory and .type == "directory" and (.permissions | startswith("d"))' < "$ANSWER"
jq -r '.files[].name' "$ANSWER" > "$out/names"
get files -d recursive=true -d limit=2 -d offset=1 --data-urlencode "path=$ROOT/" | check '.total_count > 3 and (.files | length) == 2'

get file-info --data-urlencode "path=$ROOT/etc/hostname" | check '.file | .size == 7 and .type == "file" and .permissions == "-rw-r--r--"'
get file-info --data-urlencode "path=$ROOT/etc/link" -d no_follow=true | check '.file | .type == "symlink" and .link_target == "hostname"'

get download --data-urlencode "path=$ROOT/etc/hostname" -o "$out/hostname" -D "$out/head"
grep -qi '^content-type: text/plain' "$out/head" || die "no content type"
grep -qi '^content-disposition: attachment; filename="hostname"' "$out/head" || die "no name"
grep -qi '^accept-ranges: bytes' "$out/head" || die "no ranges"
ETAG=$(sed -n 's/^etag: *\(.*\)\r$/\1/ip' "$out/head")
[ -n "$ETAG" ] || die "no ETag"

# A download that broke off is taken up again where it ended.
get download --data-urlencode "path=$ROOT/data/large.bin" -r 0-99999 -o "$out/large.bin" -D "$out/head"
grep -q '^HTTP/1.1 206' "$out/head" || die "no part"
get download --data-urlencode "path=$ROOT/data/large.bin" -C - -o "$out/large.bin"
CODE=$(get download --data-urlencode "path=$ROOT/etc/hostname" -H "If-None-Match: $ETAG" -o /dev/null -w '%{http_code}')
[ "$CODE" = 304 ] || die "sent again: $CODE"
CODE=$(curl -sS -G "$API/restore/$MOUNT_ID/download" -H "Authorization: Bearer $TOKEN" --data-urlencode "path=$ROOT/etc/hostname" \
  -H "Range: bytes=100-" -o /dev/null -w '%{http_code}')
[ "$CODE" = 416 ] || die "a range that is not there: $CODE"

get download-directory -d format=zip --data-urlencode "path=$ROOT/data" -o "$out/data.zip" -D "$out/head"
grep -qi '^content-type: application/zip' "$out/head" || die "no zip"
get download-directory -d format=tar.gz --data-urlencode "path=$ROOT/data" -o "$out/data.tar.gz" -D "$out/head"
grep -qi '^content-type: application/gzip' "$out/head" || die "no tar.gz: $(cat "$out/head")"
mkdir -p "$out/zip" "$out/tar"
unzip -q -d "$out/zip" "$out/data.zip"
tar -xzf "$out/data.tar.gz" -C "$out/tar"

[ "$(status GET "/restore/$MOUNT_ID/files?path=/no/such")" = 404 ] || die "what is not there was listed"
fields "success error code hint details" < "$ANSWER"
check '.success == false and .code == "file_not_found"' < "$ANSWER"

api GET /restore/resources | check '.active_mounts >= 1 and .max_mounts >= 1 and .memory_bytes > 0 and (.nbd_devices | type) == "array"'
api GET /restore/cleanup-status | check '.running and .active_mounts >= 1'
api DELETE "/restore/$MOUNT_ID" | check '.message == "backup unmounted successfully" and .mount_id == $id' --arg id "$MOUNT_ID"
[ "$(status GET "/restore/$MOUNT_ID/files?path=/")" = 404 ] || die "it is still open"
