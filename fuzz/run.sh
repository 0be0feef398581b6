#!/usr/bin/env bash
# Fuzzes targets one after another, each until it has had its processor time, and keeps what found something new.
#
#   fuzz/run.sh 1200 ext xfs…      1,200 seconds of processor time each, whatever else the machine is doing
#
# Progress, one line a round, goes to the standard output and to WORK/TARGET.log (WORK is $FUZZ_WORK or /tmp/fuzz). A target that finds
# something stops there, its input is in WORK/TARGET.found. At the end the corpus in the tree is replaced by the smallest
# set of inputs that reaches the same edges.
set -euo pipefail
cd "$(dirname "$0")"
[ $# -ge 2 ] || { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p}' "$0" >&2; exit 2; }
budget=$1
shift
work=${FUZZ_WORK:-/tmp/fuzz}
round=120 # seconds between two looks at the clock
triple=$(rustc -vV | sed -n 's/^host: //p')
RUSTC_BOOTSTRAP=1 cargo fuzz build -s none >/dev/null 2>&1 || { echo "cargo fuzz build fails" >&2; exit 1; }

# Seconds of processor time of a command, into $spent; its exit code is the command's.
timed() {
  local before after code=0
  before=$(awk '{print $3 + $4}' <<<"$(children_ticks)")
  "$@" || code=$?
  after=$(awk '{print $3 + $4}' <<<"$(children_ticks)")
  spent=$(((after - before) / $(getconf CLK_TCK)))
  return "$code"
}

# Ticks of this shell and of the children that it waited for: utime stime cutime cstime.
children_ticks() { sed 's/.*) //' "/proc/$$/stat" | cut -d' ' -f12-15; }

for target in "$@"; do
  program=target/$triple/release/$target
  corpus=$work/$target
  mkdir -p "$corpus" "$work/$target.found"
  cp -n corpus/"$target"/* "$corpus"/
  : >"$work/$target.log"
  total=0
  runs=0
  while [ "$total" -lt "$budget" ]; do
    if ! timed "$program" "$corpus" -max_total_time="$round" -timeout=60 -rss_limit_mb=512 -print_final_stats=1 \
      -artifact_prefix="$work/$target.found/" >"$work/$target.last" 2>&1; then
      tail -n 40 "$work/$target.last"
      echo "$target: a finding after $((total + spent)) s and about $runs runs, in $work/$target.found"
      continue 2
    fi
    total=$((total + spent))
    runs=$((runs + $(sed -n 's/^stat::number_of_executed_units: *//p' "$work/$target.last")))
    edges=$(grep -o 'cov: [0-9]*' "$work/$target.last" | tail -n 1)
    echo "$target: $runs executions in $total s of processor time, $edges, $(find "$corpus" -type f | wc -l) inputs" | tee -a "$work/$target.log"
  done
  smallest=$work/$target.smallest
  rm -rf "$smallest"
  mkdir "$smallest"
  "$program" -merge=1 -timeout=60 -rss_limit_mb=512 "$smallest" "$corpus" >"$work/$target.last" 2>&1
  echo "$target: $(find "$smallest" -type f | wc -l) inputs reach all of it"
  rm -rf "corpus/${target:?}"
  cp -r "$smallest" "corpus/$target"
done
