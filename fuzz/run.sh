#!/usr/bin/env bash
# Fuzzes targets by turns, until each has had its processor time, and keeps what found something new.
#
#   fuzz/run.sh 1200 ext xfs…      1,200 seconds of processor time each, whatever else the machine is doing
#
# Can be stopped and goes on where it was: time, executions and inputs stand in WORK ($FUZZ_WORK or /tmp/fuzz). One line a
# round goes to the standard output and to WORK/TARGET.log. A target that finds something is left alone from then on; its
# input is in WORK/TARGET.found. In the end the corpus in the tree is replaced by the smallest set of inputs that reaches the
# same edges: with 0 seconds that is all that is done.
set -euo pipefail
cd "$(dirname "$0")"
[ $# -ge 2 ] || { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p}' "$0" >&2; exit 2; }
budget=$1
shift
work=${FUZZ_WORK:-/tmp/fuzz}
round=120 # seconds between two looks at the clock
triple=$(rustc -vV | sed -n 's/^host: //p')
RUSTC_BOOTSTRAP=1 cargo fuzz build -s none >/dev/null 2>&1 || { echo "cargo fuzz build fails" >&2; exit 1; }

# Ticks of processor time that the children of this shell have had.
children() { awk '{print $3 + $4}' <<<"$(sed 's/.*) //' "/proc/$$/stat" | cut -d' ' -f12-15)"; }

# One round of $1, whose totals are $2 (seconds) and $3 (executions).
fuzz() {
  local target=$1 before ticks code=0 edges
  before=$(children)
  "target/$triple/release/$target" "$work/$target" -max_total_time="$round" -timeout=60 -rss_limit_mb=512 \
    -print_final_stats=1 -artifact_prefix="$work/$target.found/" >"$work/$target.last" 2>&1 || code=$?
  ticks=$(($(children) - before))
  spent=$(($2 + ticks / $(getconf CLK_TCK)))
  runs=$(($3 + $(sed -n 's/^stat::number_of_executed_units: *//p' "$work/$target.last" | grep . || echo 0)))
  edges=$(grep -o 'cov: [0-9]*' "$work/$target.last" | tail -n 1)
  echo "$spent $runs" >"$work/$target.spent"
  echo "$target: $runs executions in $spent s of processor time, $edges, $(find "$work/$target" -type f | wc -l) inputs" |
    tee -a "$work/$target.log"
  [ "$code" = 0 ] || { tail -n 40 "$work/$target.last"; echo "$target: a finding, in $work/$target.found"; }
}

for target in "$@"; do
  mkdir -p "$work/$target" "$work/$target.found"
  cp -n corpus/"$target"/* "$work/$target/"
  [ -e "$work/$target.spent" ] || echo 0 0 >"$work/$target.spent"
done
going=1
while [ "$going" = 1 ]; do
  going=0
  for target in "$@"; do
    read -r spent runs <"$work/$target.spent"
    # Not what was only slow: the machine may have been busy.
    found=$(find "$work/$target.found" -name 'crash-*' -o -name 'oom-*' -o -name 'timeout-*')
    if [ "$spent" -lt "$budget" ] && [ -z "$found" ]; then
      going=1
      fuzz "$target" "$spent" "$runs"
    fi
  done
done

for target in "$@"; do
  smallest=$work/$target.smallest
  rm -rf "$smallest"
  mkdir "$smallest"
  "target/$triple/release/$target" -merge=1 -timeout=60 -rss_limit_mb=512 "$smallest" "$work/$target" >"$work/$target.last" 2>&1
  echo "$target: $(find "$smallest" -type f | wc -l) inputs reach all of it"
  rm -rf "corpus/${target:?}"
  cp -r "$smallest" "corpus/$target"
done
