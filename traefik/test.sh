#!/usr/bin/env bash
# Starts a real Traefik with each layout and looks at what it does. No engine is needed; with one, the Docker
# provider is looked at too. Prints `N passed, N failed, N skipped`.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd "$here/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$repo/scripts/lib.sh"

for program in curl openssl; do
  have "$program" || apt_install "$program"
done
traefik=$("$repo/scripts/tools.sh" --only traefik)
work=$(mktemp -d)
pids=()
passed=0 failed=0 skipped=0

clean_up() {
  local pid
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# check WHAT COMMAND...: counts whether COMMAND succeeds.
check() {
  local what=$1
  shift
  if "$@" >"$work/said" 2>&1; then
    passed=$((passed + 1))
    printf 'ok    %s\n' "$what"
  else
    failed=$((failed + 1))
    printf 'FAIL  %s\n' "$what"
    sed 's/^/      /' "$work/said"
  fi
}
skip() {
  skipped=$((skipped + 1))
  printf 'skip  %s\n' "$1"
}
says() { # TEXT COMMAND...: COMMAND prints a line that is TEXT, case aside
  local text=$1 output
  shift
  output=$("$@" | tr -d '\r') || true
  grep -qixF -- "$text" <<<"$output" || { printf 'expected the line: %s\ngot:\n%s\n' "$text" "$output"; return 1; }
}
lacks() { # PATTERN COMMAND...: COMMAND prints something, and PATTERN nowhere
  local pattern=$1 output
  shift
  output=$("$@") || true
  [[ $output ]] || { echo "nothing was printed"; return 1; }
  ! grep -iE -- "$pattern" <<<"$output"
}
exits_0() { # PID
  local code=0
  wait "$1" || code=$?
  [[ $code == 0 ]] || { echo "exit code $code"; return 1; }
}
fails() { ! "$@"; }

trust=()
get() { curl -s --max-time 20 --resolve "*:$http:127.0.0.1" "${trust[@]}" "$@"; }

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# start NAME RUN_OPTIONS...: sets pid, log; waits until /ping answers.
start() {
  local name=$1 static
  shift
  log=$work/$name.log
  static=$("$here/run.sh" "$layout" --out "$work/$name.yaml" --render --api "127.0.0.1:$api" "$@")
  DOMAIN=example.com APP_URL="http://127.0.0.1:$backend" CERTS="$work/certs" \
    "$traefik" --configFile="$static" >"$log" 2>&1 &
  pid=$!
  pids+=("$pid")
  if ! until_true 10 curl -sf -o /dev/null "http://127.0.0.1:$api/ping" || ! until_true 5 served file; then
    cat "$log"
    die "Traefik did not start with the layout '$layout'"
  fi
}
stop() {
  kill "$pid"
  wait "$pid" 2>/dev/null || true
}
served() { curl -sf "http://127.0.0.1:$api/api/http/middlewares" | grep -q "@$1\""; }
until_true() { # SECS COMMAND...
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < end)) || return 1
    sleep 0.1
  done
}
clean_log() { # neither error nor warning
  local lines
  lines=$(grep -E '(^| |")(WRN|ERR|FTL|warn|error|fatal)("| )' "$log" || true)
  [[ -z $lines ]] || { printf '%s\n' "$lines"; return 1; }
}
no_errors() { lacks '"errors":[1-9]' curl -sf "http://127.0.0.1:$api/api/overview"; }

secret=mcp_test_not_a_token
backend=$(free_port)
python3 "$here/upstream.py" serve "$backend" &
pids+=("$!")

# A route such as the daemon makes, by file: the labels are its own tests' matter.
route() { # NAME HOST ENTRYPOINT [TLS]
  cat <<YAML
http:
  routers:
    $1: { rule: 'Host(\`$2\`)', entryPoints: [$3], middlewares: [security-headers], service: $1${4:+, tls: {\}} }
  services:
    $1: { loadBalancer: { servers: [{ url: 'http://127.0.0.1:$backend' }] } }
YAML
}

layout=local
echo "== local"
http=$(free_port) api=$(free_port)
mkdir -p "$work/local" && cp "$here"/local/dynamic/* "$work/local/"
route mcp-test mcp-test.mcp.localhost web >"$work/local/mcp-test.yaml"
start local --http "127.0.0.1:$http" --docker none --dynamic "$work/local"
url=http://mcp-test.mcp.localhost:$http
until_true 5 get -f -o "$work/x" "$url/"

check "an instance's route answers" says 200 get -o "$work/x" -w '%{http_code}\n' "$url/mcp"
check "an unknown host is 404" says 404 get -o "$work/x" -w '%{http_code}\n' "http://mcp-nobody.mcp.localhost:$http/mcp"
check "nosniff is set" says 'X-Content-Type-Options: nosniff' get -i "$url/"
check "no referrer is sent" says 'Referrer-Policy: no-referrer' get -i "$url/"
check "frames: the same host only" says "Content-Security-Policy: frame-ancestors 'self'" get -i "$url/"
check "the backend's Server header is gone" lacks '^server:' get -i "$url/"
check "the backend sees X-MCP-Instance-Id as sent, so that the next check can see" \
  fails lacks 'x-mcp-instance-id' get -H 'X-MCP-Instance-Id: spoofed' "$url/"
check "its aliases do not reach the backend" lacks 'mcp.instance.id|spoofed' \
  get -H 'X_MCP_Instance_Id: spoofed' -H 'X.MCP.Instance.Id: spoofed' -H 'X-MCP_Instance-Id: spoofed' "$url/"
check "an encoded slash in the path is refused" says 400 get -o "$work/x" -w '%{http_code}\n' "$url/a%2Fb"
check "WebSockets pass" python3 "$here/upstream.py" hold "$http" mcp-test.mcp.localhost 0
get -o "$work/x" -H "Authorization: Bearer $secret" "$url/vnc.html?password=$secret"
check "the access log tells the request" until_true 3 grep -q '"RequestPath":"/vnc.html"' "$log"
check "and neither the bearer nor the query" lacks "$secret" cat "$log"
address=$(hostname -I 2>/dev/null | cut -d ' ' -f 1)
if [[ $address ]]; then
  check "nothing listens beyond loopback" fails curl -s --max-time 2 --noproxy '*' "http://$address:$http/"
else
  skip "nothing listens beyond loopback: this machine has no other address"
fi
late=http://mcp-late.mcp.localhost:$http/
route mcp-late mcp-late.mcp.localhost web >"$work/late.yaml"
mv "$work/late.yaml" "$work/local/mcp-late.yaml"
check "a route's file that is moved in is served" until_true 2 get -f "$late"
rm "$work/local/mcp-late.yaml"
check "and gone with it" until_true 2 fails get -f "$late"
check "no error, no warning in the log" clean_log
check "no error in the API's overview" no_errors
stop

{ cat "$work/local.yaml"; echo "noSuchOption: true"; } >"$work/typo.yaml"
check "an unknown option is an error" fails timeout 5 "$traefik" --configFile="$work/typo.yaml"

if [[ -S /var/run/docker.sock ]]; then
  start docker --http "127.0.0.1:$http" --manager no-such-manager
  check "the Docker provider loads" until_true 5 grep -q 'docker.Provider' "$log"
  sleep 1
  check "it speaks to the engine: no error, no warning" clean_log
  check "containers of another manager open nothing" fails served docker
  stop
else
  skip "the Docker provider: no engine's socket here"
fi

layout=production
echo "== production"
certificate() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj "/CN=$1" \
    -addext 'subjectAltName=DNS:*.example.com' -keyout "$work/certs/wildcard.key" -out "$work/certs/wildcard.crt" 2>/dev/null
}
mkdir -p "$work/certs" "$work/production" && cp "$here"/production/dynamic/* "$work/production/"
certificate first
cp "$work/certs/wildcard.crt" "$work/ca.crt"
route vnc-test vnc-test.example.com websecure tls >"$work/production/vnc-test.yaml"
http=$(free_port) https=$(free_port) api=$(free_port)
start production --http "127.0.0.1:$http" --https "127.0.0.1:$https" --docker none --dynamic "$work/production" \
  --read-timeout 2s --idle-timeout 2s
trust=(--cacert "$work/ca.crt" --resolve "*:$https:127.0.0.1")
app=https://app.example.com:$https
vnc=https://vnc-test.example.com:$https
until_true 5 get -f -o "$work/x" "$vnc/"

check "http redirects to https" says "Location: $app/x?y=1" get -i "http://app.example.com:$http/x?y=1"
check "for good" says 308 get -o "$work/x" -w '%{http_code}\n' -X POST "http://app.example.com:$http/"
check "app. answers through TLS with the wildcard certificate" says 200 get -o "$work/x" -w '%{http_code}\n' "$app/"
check "over HTTP/2" says 2 get -o "$work/x" -w '%{http_version}\n' "$app/"
check "HSTS on app." says 'Strict-Transport-Security: max-age=31536000' get -i "$app/"
check "nosniff on app." says 'X-Content-Type-Options: nosniff' get -i "$app/"
check "frames of app.: itself" says 'X-Frame-Options: SAMEORIGIN' get -i "$app/"
check "app. keeps its own Content-Security-Policy" lacks 'content-security-policy' get -i "$app/"
check "an instance's route answers through TLS" says 200 get -o "$work/x" -w '%{http_code}\n' "$vnc/vnc.html"
check "HSTS on an instance" says 'Strict-Transport-Security: max-age=31536000' get -i "$vnc/"
check "noVNC may stand in a frame of app., of nobody else" \
  says "Content-Security-Policy: frame-ancestors 'self' https://app.example.com" get -i "$vnc/"
check "and no X-Frame-Options contradicts" lacks 'x-frame-options' get -i "$vnc/"
check "an unknown host under the certificate is 404" says 404 get -o "$work/x" -w '%{http_code}\n' "https://mcp-nobody.example.com:$https/"
check "a name that no certificate covers ends in the handshake" fails get -k "https://elsewhere.test:$https/"
check "TLS 1.1 is refused" fails get -k --tls-max 1.1 "$app/"
check "TLS 1.2 is spoken" get -f -o "$work/x" --tls-max 1.2 "$app/"
check "TLS 1.3 is spoken" get -f -o "$work/x" --tlsv1.3 "$app/"
check "aliases of X-MCP-Instance-Id do not reach the backend" lacks 'mcp.instance.id|spoofed' \
  get -H 'X_MCP_Instance_Id: spoofed' -H 'X.MCP.Instance.Id: spoofed' "$vnc/"
check "the backend learns the real scheme and host, whatever the client claims" \
  lacks 'evil' get -H 'X-Forwarded-Host: evil' -H 'X-Forwarded-For: evil' -H 'X-Forwarded-Proto: evil' "$vnc/"

# readTimeout and idleTimeout are 2 s in this run; the streams last six.
events() { [[ $(get "$@" "$vnc/events" | grep -c '^data') == 6 ]]; }
check "no timeout cuts an event stream on HTTP/1.1" events --http1.1
check "nor on HTTP/2" events --http2
check "nor a silent WebSocket" python3 "$here/upstream.py" hold "$https" vnc-test.example.com 5 "$work/ca.crt"
check "but readTimeout ends a head that never comes" says 2 \
  python3 "$here/upstream.py" dribble "$https" vnc-test.example.com "$work/ca.crt"

get -o "$work/x" -H "Authorization: Bearer $secret" "$vnc/vnc.html?password=$secret"
check "the access log tells the request" until_true 3 grep -q '"RequestPath":"/vnc.html"' "$log"
check "and neither the bearer nor the query" lacks "$secret" cat "$log"
check "metrics are on the loopback API" fails lacks 'traefik_entrypoint_requests_total' curl -sf "http://127.0.0.1:$api/metrics"
check "without a service's name in them" lacks 'vnc-test' curl -sf "http://127.0.0.1:$api/metrics"
check "no error, no warning in the log" clean_log
check "no error in the API's overview" no_errors

certificate second
cp "$work/certs/wildcard.crt" "$work/ca.crt"
touch "$work/production/tls.yaml"
subject() { openssl s_client -connect "127.0.0.1:$https" -servername app.example.com </dev/null 2>/dev/null | openssl x509 -noout -subject; }
check "a renewed certificate is served after a touch of tls.yaml" until_true 5 bash -c "$(declare -f subject); https=$https; subject | grep -q second"

get -o "$work/x" "$vnc/events" &
stream=$!
sleep 1
kill "$pid"
check "a stream that runs at SIGTERM is finished" exits_0 "$stream"
check "and Traefik ends by itself" until_true 12 fails kill -0 "$pid"

echo "== compose files"
# scripts/test.sh installs the second where the first is not there; without either, the checks fail.
compose=docker-compose
if docker compose version >/dev/null 2>&1; then compose="docker compose"; fi
for file in compose.yaml production/compose.yaml production/compose.shared.yaml; do
  # shellcheck disable=SC2086 # two words for the plugin
  check "$file is well formed" env DOMAIN=example.com $compose -f "$here/$file" config
done

printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
((failed == 0))
