# shellcheck shell=bash
# What `make up`, `make down` and the measurements know of the local fleet: source it after lib.sh, in the
# repository's root. It sets variables and defines functions, and does nothing else.

# shellcheck disable=SC2034 # for those who source this
{
  config=$PWD/instanced.yaml
  binary=$PWD/target/release/instanced
  run_dir=${INSTANCED_RUN_DIR:-$PWD/.run}
}
export INSTANCED_RUN_DIR=$run_dir INSTANCED_RUN=$run_dir

# configured SECTION KEY DEFAULT: a value of instanced.yaml, for what has to be known before the daemon runs.
# SECTION may be empty: a key of the top level.
configured() {
  local value
  value=$(awk -v section="$1" -v key="$2" '
    { sub(/(^|[ \t])#.*$/, "") }
    /^[a-z_]+:/ { here = substr($0, 1, index($0, ":") - 1) == section }
    section == "" ? $0 ~ "^" key ":" : here && $0 ~ "(^|[ {,])" key ":" {
      sub("^.*[ {,]" key ":[ \t]*|^" key ":[ \t]*", "")
      sub(/[,}].*$/, ""); gsub(/["\047 \t]/, "")
      print; exit
    }' "$config")
  printf '%s\n' "${value:-$3}"
}

# take_lock: descriptor 9 holds it until this shell ends. False when somebody else has it.
take_lock() {
  if ! { mkdir -p "$run_dir" && touch "$run_dir/up.lock"; } 2>/dev/null; then
    die "cannot write in $run_dir; it belongs to $(stat -c %U "$run_dir" 2>/dev/null || echo nobody): remove it, or sudo chown -R $(id -un) $run_dir"
  fi
  [ ! -O "$run_dir" ] || chmod 700 "$run_dir"
  exec 9>>"$run_dir/up.lock"
  flock --nonblock 9
}

# holder_of_lock: the pid of the `make up` that runs here.
holder_of_lock() { cat "$run_dir/up.pid" 2>/dev/null || echo unknown; }
