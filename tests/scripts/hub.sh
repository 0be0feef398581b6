# shellcheck shell=bash
# What our backup scripts share. Source it; it logs in and leaves the token in TOKEN.
#
#   HUB_URL       https://hub.example:8082
#   HUB_USER      backup
#   HUB_PASSWORD  …
#   CURL_CA_BUNDLE (curl's own) the hub's certificate

: "${HUB_URL:?}" "${HUB_USER:?}" "${HUB_PASSWORD:?}"
API="$HUB_URL/api/v1"

die() { echo "$(basename "$0"): $*" >&2; exit 1; }

# A request that must succeed: api METHOD PATH [JSON]. The answer goes to stdout.
api() {
  local method=$1 path=$2 answer
  local arguments=(-sS --fail-with-body -X "$method" -H "Authorization: Bearer $TOKEN")
  [ -z "${3-}" ] || arguments+=(-H "Content-Type: application/json" -d "$3")
  answer=$(curl "${arguments[@]}" "$API$path") || die "$method $path: $answer"
  echo "$answer"
}

# The status of a request, whatever it is; the answer goes to the file $ANSWER.
ANSWER=$(mktemp)
trap 'rm -f "$ANSWER"' EXIT
status() {
  local method=$1 path=$2
  shift 2
  curl -sS -o "$ANSWER" -w '%{http_code}' -X "$method" "$API$path" -H "Authorization: Bearer ${TOKEN-}" "$@"
}

# fields "a b c" FILTER < JSON: fails unless the object that FILTER gives has every one of these keys.
fields() {
  local missing
  missing=$(jq -r --arg keys "$1" "(${2-.}) as \$object | (\$keys | split(\" \")) - (\$object | keys) | join(\" \")")
  [ -z "$missing" ] || die "no $missing in the answer (${2-.})"
}

# check FILTER [jq arguments…] < JSON: fails unless the filter is true.
check() {
  local filter=$1
  shift
  jq -e "$@" "$filter" > /dev/null || die "not so: $filter"
}

TOKEN=$(curl -sS --fail-with-body -X POST "$API/auth/login" -H "Content-Type: application/json" \
  -d "{\"username\":\"$HUB_USER\",\"password\":\"$HUB_PASSWORD\"}" | jq -r .token)
if [ -z "$TOKEN" ] || [ "$TOKEN" = null ]; then die "can't log in"; fi
