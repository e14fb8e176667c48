#!/bin/sh
# Runs in the emulated machine at every boot, as run.sh of what tests/machine/test.sh hands in. Each line of its
# output arrives on the host by the serial port:
#
#   begin WHAT ARGUMENT…   a command starts; if the power goes now, both outcomes are right
#   done  WHAT ARGUMENT…   the command was acknowledged: its effect must survive every power cut
#   ok TEXT, FAIL TEXT     one check
#   log TEXT               for a reader of the log
#
# Handed in beside it: `mode` (work: until the power goes; last: checks, then ends), `journal` (the lines of all
# earlier boots), `boot` (its number), `step` (of the work to begin with), and for the first boot `stage` (made by `make install`), `tiny`
# (the instances' program) and `instanced.yaml`.
set -u
export INSTANCED_CONFIG=/etc/instanced/instanced.yaml
here=$(dirname "$0")
FLEET="amber birch cedar delta ember"
LIMIT=600 # seconds; only a machine that hangs takes as long

ok() { echo "ok $*"; }
fail() { echo "FAIL $*"; }
log() { sed 's/^/log /'; }

# eventually WHAT COMMAND…: one check; the command's last output follows a failure.
eventually() {
  what=$1
  shift
  began=$(uptime_secs)
  until said=$("$@" 2>&1); do
    if [ $(($(uptime_secs) - began)) -gt $LIMIT ]; then
      fail "$what"
      echo "$said" | log
      return 1
    fi
    sleep 1
  done
  ok "$what, $(($(uptime_secs) - began)) s later"
}

uptime_secs() { cut -d. -f1 /proc/uptime; }

# Whole, or not at all: a power cut must not leave half a file behind.
write_manifest() { # NAME
  printf 'template: mcp-http\nimage: localhost/instanced/tiny:1\nentrypoint: [/tiny]\nresources: { memory: 32MiB, cpus: 0.5, pids: 64 }\n' \
    > "/etc/instanced/$1.new"
  sync
  mv "/etc/instanced/$1.new" "/etc/instanced/instances.d/$1.yaml"
}

install_product() {
  cp -a "$here/stage/." /
  systemd-sysusers
  mkdir -p /etc/instanced/instances.d
  cp "$here/instanced.yaml" /etc/instanced/
  for name in $FLEET; do write_manifest "$name"; done
  tar -C "$here" -c tiny | docker import --change 'ENTRYPOINT ["/tiny"]' --change 'EXPOSE 8080 5900 6080' \
    - localhost/instanced/tiny:1 | log
  systemctl daemon-reload
  systemctl enable --now instanced.socket instanced.service 2>&1 | log
  sync
}

# ---- what the earlier boots acknowledged ----

# The last word on each subject: `done issue ID INSTANCE SECRET`, `begin revoke ID` … one line each.
last_words() { # SUBJECT-PATTERN
  awk -v wanted="$1" '
    ($1 == "begin" || $1 == "done") && $2 ~ wanted { last[$3] = $0 }
    END { for (subject in last) print last[subject] }' "$here/journal"
}

answer_to() { # INSTANCE SECRET: the status of ForwardAuth's answer
  curl --silent --output /dev/null --write-out '%{http_code}' --max-time 60 \
    --header "X-Forwarded-Host: mcp-$1.mcp.localhost" --header "Authorization: Bearer $2" \
    "http://127.0.0.1:9180/auth/mcp-bearer-check/mcp-$1"
}

tokens_are_kept() {
  listed=$(instanced token list | awk '{ print $1 }') || return 1
  last_words '^(issue|revoke)$' > /run/tokens
  while read -r word what id instance secret; do
    case "$word $what" in
      'done issue') echo "$listed" | grep -qx "$id" || { echo "token $id of $instance is lost"; return 1; } ;;
      'done revoke') ! echo "$listed" | grep -qx "$id" || { echo "revoked token $id is back"; return 1; } ;;
    esac
  done < /run/tokens
}

# A few of each only: every question takes a tenth of a second here, and wrong tokens are slowed down.
tokens_open_and_close() {
  grep '^done issue' /run/tokens | head -n 5 > /run/some
  while read -r _ _ id instance secret; do
    status=$(answer_to "$instance" "$secret")
    [ "$status" = 204 ] || { echo "token $id of $instance is answered $status"; return 1; }
  done < /run/some
  grep '^done revoke' /run/tokens | head -n 2 > /run/some
  while read -r _ _ id; do
    secret=$(awk -v id="$id" '$1 == "done" && $2 == "issue" && $3 == id { print $5 }' "$here/journal")
    instance=$(awk -v id="$id" '$1 == "done" && $2 == "issue" && $3 == id { print $4 }' "$here/journal")
    status=$(answer_to "$instance" "$secret")
    [ "$status" = 401 ] || { echo "revoked token $id is answered $status"; return 1; }
  done < /run/some
}

suspensions_are_kept() {
  shown=$(instanced status) || return 1
  last_words '^(suspend|resume)$' > /run/suspensions
  while read -r word what name; do
    case "$word $what" in
      'done suspend') echo "$shown" | grep -q "^! $name: .*suspend" || { echo "$name is not suspended: $shown"; return 1; } ;;
      'done resume') ! echo "$shown" | grep -q "^! $name: .*suspend" || { echo "$name is suspended again: $shown"; return 1; } ;;
    esac
  done < /run/suspensions
}

# The engine is asked: it must have no container of these.
are_gone() { # NAME…
  for name in "$@"; do
    found=$(docker ps --all --quiet --filter "label=instanced.instance=$name") || return 1
    [ -z "$found" ] || { echo "$name has a container: $found"; return 1; }
  done
}

removals_are_kept() {
  last_words '^(remove|add)$' > /run/removals
  # shellcheck disable=SC2046 # a list
  are_gone $(awk '$1 == "done" && $2 == "remove" { print $3 }' /run/removals)
}

fleet_runs() {
  for file in /etc/instanced/instances.d/*.yaml; do
    name=$(basename "$file" .yaml)
    [ "$(docker ps --quiet --filter "label=instanced.instance=$name" | wc -l)" -eq 1 ] || { echo "$name does not run"; return 1; }
  done
}

# 3: nothing is pending, and a suspended instance is held.
plan_is_empty() {
  instanced reconcile --dry-run --detailed-exitcode
  case $? in 0 | 3) ! instanced reconcile --dry-run | grep -q 'confirm-prune' ;; *) return 1 ;; esac
}

check_everything() {
  eventually 'the service is ready' instanced health
  finish_removal
  eventually 'the fleet runs' fleet_runs
  eventually 'the plan is empty' plan_is_empty
  eventually 'the tokens are those that were acknowledged' tokens_are_kept
  eventually 'live tokens open, revoked ones do not' tokens_open_and_close
  eventually 'the suspended instances are those that were acknowledged' suspensions_are_kept
  eventually 'confirmed removals stay removed' removals_are_kept
}

# ---- work, until the power goes ----

# acknowledged WHAT ARGUMENT… -- COMMAND…: exit 3 says that something else is held.
acknowledged() {
  words=
  while [ "$1" != -- ]; do words="$words $1"; shift; done
  shift
  echo "begin$words"
  said=$("$@" 2>&1)
  case $? in
    0 | 3) echo "done$words" ;;
    *) echo "refused$words"; echo "$said" | log ;;
  esac
}

issue() { # INSTANCE
  issued=$((issued + 1))
  secret=$(instanced token issue "$1" --label "boot-$(cat "$here/boot")-$issued" 2>/run/said) || { log < /run/said; return; }
  id=${secret#mcp_}
  id=${id%%_*}
  echo "done issue $id $1 $secret"
  recent="$id $recent"
}

# Two manifests at once are more than the guard lets go without a person.
remove_two() {
  [ ! -e /etc/instanced/instances.d/delta.yaml ] || eventually 'the fleet runs, before a removal' fleet_runs
  rm -f /etc/instanced/instances.d/delta.yaml /etc/instanced/instances.d/ember.yaml
  sync
  echo 'begin remove delta'
  echo 'begin remove ember'
  eventually 'two deleted manifests are removed, once confirmed' confirm_removal || return
  echo 'done remove delta'
  echo 'done remove ember'
}

confirm_removal() {
  id=$(instanced reconcile 2>&1 | sed -n 's/.*--confirm-prune \([0-9a-f]*\).*/\1/p' | head -n 1)
  [ -z "$id" ] || instanced reconcile --confirm-prune "$id"
  are_gone delta ember
}

# A removal that was not acknowledged when the power went is done again, as a person would.
finish_removal() {
  last_words '^(remove|add)$' > /run/removals
  for name in delta ember; do
    if [ ! -e "/etc/instanced/instances.d/$name.yaml" ] && ! grep -qx "done remove $name" /run/removals; then
      remove_two
      return
    fi
  done
}

add_two() {
  echo 'begin add delta'
  echo 'begin add ember'
  write_manifest delta
  write_manifest ember
  sync
}

# The order differs from boot to boot, so that the power goes at other commands.
work() { # FIRST-STEP
  step=$1
  recent=
  issued=0
  while :; do
    case $((step % 8)) in
      0 | 2 | 5) issue amber; issue birch ;;
      1 | 6) # the second latest of this boot
        # shellcheck disable=SC2086 # a list
        set -- $recent
        [ $# -lt 2 ] || { acknowledged revoke "$2" -- instanced token revoke "$2"; recent=$1; }
        ;;
      3) acknowledged suspend cedar -- instanced suspend cedar ;;
      4) remove_two ;;
      7)
        acknowledged resume cedar -- instanced resume cedar
        add_two
        ;;
    esac
    step=$((step + 1))
  done
}

echo "log $(cat /etc/debian_version), $(uname -r), $(docker info --format '{{.ServerVersion}} cgroup {{.CgroupVersion}} {{.SecurityOptions}}' 2>&1), up $(uptime_secs) s"
if [ -d "$here/stage" ]; then
  install_product
fi
check_everything
echo "checked after $(uptime_secs) s"
if [ "$(cat "$here/mode")" = last ]; then
  systemctl stop instanced.service
  journalctl --unit instanced --boot --no-pager --quiet | tail -n 40 | log
else
  work "$(cat "$here/step")"
fi
