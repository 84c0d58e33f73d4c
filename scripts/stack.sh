#!/usr/bin/env bash
# Runs the whole project, or its Redis and RabbitMQ alone, as private instances under RUN_DIR (default .run).
# Several stacks live side by side, one per RUN_DIR. `scripts/stack.sh help` lists the verbs.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
# shellcheck source=scripts/lib/common.sh
source "$ROOT/scripts/lib/common.sh"
# shellcheck source=scripts/lib/packages.sh
source "$ROOT/scripts/lib/packages.sh"
# shellcheck source=scripts/lib/probe.sh
source "$ROOT/scripts/lib/probe.sh"
# shellcheck source=scripts/lib/process.sh
source "$ROOT/scripts/lib/process.sh"
# shellcheck source=scripts/lib/compose.sh
source "$ROOT/scripts/lib/compose.sh"

umask 077 # the folder holds keys, passwords and data

usage() {
  cat <<'USAGE'
usage: [RUN_DIR=.run] scripts/stack.sh VERB [NAME]
  infra          starts Redis and RabbitMQ alone
  up             starts what is not running, waits until all is healthy, writes RUN_DIR/env, prints the URLs
  down           stops all of it; data, logs and keys stay
  wipe           down, and removes data, logs and keys
  status         one line per process; exit code 3 if something is not well
  start NAME     starts one process and waits until it is healthy
  stop NAME      ends one process gently (SIGTERM)
  kill NAME      ends one process at once (SIGKILL)
  restart NAME   stop, start
  run NAME       runs a stopped service in the foreground: its output, its exit code; settings that are given are for it alone
  rabbitmqctl …  the broker's own tool, at the private broker
  redis-cli …    the same for Redis
NAME: redis rabbitmq subscription-service gateway callback-service event-listener; `kill runner` as well.
REDIS_URL, AMQP_URL: use these servers, which are then never started or stopped, instead of private ones.
WEBHOOK_ALLOW_CIDRS, WEBHOOK_ALLOW_HTTP: 127.0.0.0/8,::1/128 and true unless given, even as empty.
WEBHOOK_PUBLIC_URL: the gateway's own address unless given, even as empty.
WEBHOOK_RETRY_SCHEDULE, WEBHOOK_CALLBACK_TIMEOUT, WEBHOOK_MAX_IN_FLIGHT, WEBHOOK_BULK_RATE, WEBHOOK_DISABLE_AFTER, WEBHOOK_REPLAY_RATE,
WEBHOOK_SHUTDOWN_TIMEOUT, WEBHOOK_LOG_LEVEL, WEBHOOK_ADMIN_TOKENS, WEBHOOK_CONSUMER_RATE, WEBHOOK_CONSUMER_EVENT_RATE,
WEBHOOK_CONSUMER_SUBSCRIPTIONS, WEBHOOK_AUDIT_ENTRIES, WEBHOOK_MAX_CONNECTIONS, WEBHOOK_DNS, WEBHOOK_EGRESS_PROXY, WEBHOOK_ORIGIN,
WEBHOOK_VERIFICATION_SCHEDULE, WEBHOOK_PORTAL_ADMIN, WEBHOOK_PORTAL_ADMIN_URL, WEBHOOK_PORTAL_FRAME_ANCESTORS, SSL_CERT_FILE: handed on if given.
OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_HEADERS, OTEL_TRACES_SAMPLER, OTEL_TRACES_SAMPLER_ARG, OTEL_RESOURCE_ATTRIBUTES,
OTEL_BSP_SCHEDULE_DELAY: likewise.
STACK_VIA_REDIS, STACK_VIA_AMQP, STACK_VIA_GATEWAY: HOST:PORT at which the services reach these, e.g. a proxy that fails.
STACK=compose: with the real APISIX, on Docker. STACK_TIMEOUT: seconds a process may take to become healthy (120).
USAGE
}

# Receivers start before senders, and stop after them, so that nothing is sent to a party that is not there.
INFRA=(redis rabbitmq)
SERVICES=(subscription-service gateway callback-service event-listener)
STOP_ORDER=(event-listener callback-service gateway subscription-service rabbitmq epmd redis)
HANDED_ON=(
  WEBHOOK_{RETRY_SCHEDULE,CALLBACK_TIMEOUT,MAX_IN_FLIGHT,BULK_RATE,DISABLE_AFTER,REPLAY_RATE,SHUTDOWN_TIMEOUT,LOG_LEVEL,DNS,EGRESS_PROXY,ORIGIN,VERIFICATION_SCHEDULE} SSL_CERT_FILE
  WEBHOOK_PORTAL_{ADMIN,ADMIN_URL,FRAME_ANCESTORS}
  WEBHOOK_{ADMIN_TOKENS,CONSUMER_RATE,CONSUMER_EVENT_RATE,CONSUMER_SUBSCRIPTIONS,AUDIT_ENTRIES,MAX_CONNECTIONS}
  WEBHOOK_{REDIS,AMQP}_{CA,CERT,KEY} STACK_VIA_{REDIS,AMQP,GATEWAY}
)
TRACING=(OTEL_{EXPORTER_OTLP_ENDPOINT,EXPORTER_OTLP_HEADERS,TRACES_SAMPLER,TRACES_SAMPLER_ARG,RESOURCE_ATTRIBUTES,BSP_SCHEDULE_DELAY})
HANDED_ON+=("${TRACING[@]}")
OVER_TLS=(WEBHOOK_{REDIS,AMQP}_{CA,CERT,KEY} SSL_CERT_FILE)

# ---------------------------------------------------------------- what a stack remembers

make_run_dir() {
  mkdir -p "${RUN_DIR:=.run}"
  RUN_DIR=$(cd "$RUN_DIR" && pwd -P)
  export RUN_DIR
  mkdir -p "$RUN_DIR"/{log,pid}
}

# remember reads what earlier calls decided: ports, secrets, settings.
remember() {
  declare -gA PORT=() SECRET=() SETTING=() GIVEN=()
  GATEWAY_DIR=$(cat "$RUN_DIR/gateway.dir" 2>/dev/null) || GATEWAY_DIR=$RUN_DIR/gateway
  load ports PORT
  load settings SETTING
  load secrets.env SECRET
}

# load FILE ARRAY reads KEY=value lines; save FILE ARRAY writes them.
load() {
  local key value
  [[ -f $RUN_DIR/$1 ]] || return 0
  while IFS='=' read -r key value; do printf -v "$2[$key]" '%s' "$value"; done <"$RUN_DIR/$1"
}

save() {
  local -n from=$2
  local key
  for key in "${!from[@]}"; do printf '%s=%s\n' "$key" "${from[$key]}"; done | sort | write_file "$RUN_DIR/$1"
}

make_secrets() {
  local name
  for name in WEBHOOK_GATEWAY_KEY WEBHOOK_CALLBACK_KEY WEBHOOK_ADMIN_TOKEN REDIS_PASSWORD RABBITMQ_PASSWORD ERLANG_COOKIE; do
    [[ -n ${SECRET[$name]:-} ]] || SECRET[$name]=$(random_hex 32)
  done
  save secrets.env SECRET
  # Files of their own, which their admin may change while all runs: see "Secrets at rest" and "Between the parts" in docs/operator-guide.md.
  [[ -s $RUN_DIR/keyring ]] || random_key k1 | write_file "$RUN_DIR/keyring"
  [[ -s $RUN_DIR/gateway.keys ]] || printf '%s\n' "${SECRET[WEBHOOK_GATEWAY_KEY]}" | write_file "$RUN_DIR/gateway.keys"
  [[ -s $RUN_DIR/callback.keys ]] || printf '%s\n' "${SECRET[WEBHOOK_CALLBACK_KEY]}" | write_file "$RUN_DIR/callback.keys"
}

# choose_ports gives every listener a port that is free. A stack keeps its ports as long as they stay free. They
# follow from RUN_DIR, so that stacks which start at the same time do not race for the same ones, and lie
# below the range from which the kernel takes the ports of outgoing connections.
choose_ports() {
  local names=(redis amqp rabbit-dist epmd gateway gateway-metrics egress subscription admin listener-metrics callback-metrics runner-metrics)
  local name next
  next=$((20000 + 16 * ($(cksum <<<"$RUN_DIR" | cut -d ' ' -f 1) % 700)))
  for name in "${names[@]}"; do
    if [[ -n ${PORT[$name]:-} ]] && { any_alive "${INFRA[@]}" "${SERVICES[@]}" || ! port_taken "${PORT[$name]}"; }; then
      continue
    fi
    while port_taken "$next" || port_is_ours "$next"; do next=$((next + 1)); done
    PORT[$name]=$next
  done
  save ports PORT
}

port_is_ours() {
  local port
  for port in "${PORT[@]}"; do [[ $port == "$1" ]] && return 0; done
  return 1
}

# choose_settings takes the settings from the environment, as long as no process runs that has others.
choose_settings() {
  local name
  GIVEN[REDIS_URL]=${REDIS_URL:-} GIVEN[AMQP_URL]=${AMQP_URL:-}
  # A shell that has sourced our own env file does not mean a foreign server.
  [[ ${GIVEN[REDIS_URL]} != "$(private_redis_url)" ]] || GIVEN[REDIS_URL]=''
  [[ ${GIVEN[AMQP_URL]} != "$(private_amqp_url)" ]] || GIVEN[AMQP_URL]=''
  GIVEN[WEBHOOK_ALLOW_CIDRS]=${WEBHOOK_ALLOW_CIDRS-127.0.0.0/8,::1/128}
  GIVEN[WEBHOOK_ALLOW_HTTP]=${WEBHOOK_ALLOW_HTTP-true}
  GIVEN[WEBHOOK_PUBLIC_URL]=${WEBHOOK_PUBLIC_URL-http://$(local_address gateway)}
  for name in "${HANDED_ON[@]}"; do
    [[ -z ${!name:-} ]] || GIVEN[$name]=${!name}
  done
  settle REDIS_URL redis "${SERVICES[@]}"
  settle AMQP_URL rabbitmq "${SERVICES[@]}"
  for name in WEBHOOK_{ALLOW_CIDRS,ALLOW_HTTP,PUBLIC_URL} "${HANDED_ON[@]}"; do
    settle "$name" "${SERVICES[@]}"
  done
  save settings SETTING
}

# settle NAME USER… adopts a setting unless one of its users runs with another.
settle() {
  local name=$1
  shift
  # Unset and empty are not the same.
  if [[ ${SETTING[$name]-(unset)} == "${GIVEN[$name]-(unset)}" ]]; then return; fi
  if any_alive "$@"; then
    [[ ! -v $name ]] || say "$name: the running stack keeps its own value; 'down' first to change it"
  elif [[ -v 'GIVEN[$name]' ]]; then
    SETTING[$name]=${GIVEN[$name]}
  else
    unset "SETTING[$name]"
  fi
}

any_alive() {
  local name
  for name in "$@"; do
    if alive "$name"; then return 0; fi
  done
  return 1
}

# is_private NAME: is it ours to start and stop, not given by its URL?
is_private() {
  case $1 in
  redis) [[ -z ${SETTING[REDIS_URL]:-} ]] ;;
  rabbitmq | epmd) [[ -z ${SETTING[AMQP_URL]:-} ]] ;;
  esac
}

private_redis_url() { printf 'redis://:%s@127.0.0.1:%s/0' "${SECRET[REDIS_PASSWORD]}" "${PORT[redis]}"; }
private_amqp_url() { printf 'amqp://webhook:%s@127.0.0.1:%s/' "${SECRET[RABBITMQ_PASSWORD]}" "${PORT[amqp]}"; }

redis_url() { if is_private redis; then private_redis_url; else printf '%s' "${SETTING[REDIS_URL]}"; fi; }
amqp_url() { if is_private rabbitmq; then private_amqp_url; else printf '%s' "${SETTING[AMQP_URL]}"; fi; }
local_address() { printf '127.0.0.1:%s' "${PORT[$1]}"; }

# What the services are given.
their_redis_url() { via "$(redis_url)" "${SETTING[STACK_VIA_REDIS]:-}"; }
their_amqp_url() { via "$(amqp_url)" "${SETTING[STACK_VIA_AMQP]:-}"; }
their_gateway_url() { via "http://$(local_address gateway)" "${SETTING[STACK_VIA_GATEWAY]:-}"; }

# via URL HOST:PORT prints the URL, leading to another address if one is given.
via() {
  if [[ -n $2 && $1 =~ ^([a-z]+://([^/@]*@)?)[^/]*(.*)$ ]]; then
    printf '%s%s%s' "${BASH_REMATCH[1]}" "$2" "${BASH_REMATCH[3]}"
  else
    printf '%s' "$1"
  fi
}

# ---------------------------------------------------------------- starting one process

# handed_on NAME… prints KEY=value for the settings that are set, even if empty.
handed_on() {
  local name
  for name in "$@"; do
    if [[ -v 'SETTING[$name]' ]]; then printf '%s=%s\n' "$name" "${SETTING[$name]}"; fi
  done
}

# A rewrite of the append-only file takes a CPU for a second or so, so it is made rarely, and without compressing what mostly is
# compressed already.
start_redis() {
  mkdir -p "$RUN_DIR/redis"
  write_file "$RUN_DIR/redis/redis.conf" <<CONF
bind 127.0.0.1
port ${PORT[redis]}
requirepass ${SECRET[REDIS_PASSWORD]}
dir "$RUN_DIR/redis"
appendonly yes
appendfsync everysec
auto-aof-rewrite-min-size 256mb
rdbcompression no
save ""
maxmemory-policy noeviction
set-proc-title no
CONF
  launch redis PATH="$PATH" -- redis-server "$RUN_DIR/redis/redis.conf"
}

# The Erlang port mapper is a process of its own: left to itself it would outlive the broker, and be shared.
start_epmd() {
  launch epmd PATH="$PATH" ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT="${PORT[epmd]}" -- epmd
}

RABBITMQ_SERVER=/usr/lib/rabbitmq/bin/rabbitmq-server

start_rabbitmq() {
  local dir=$RUN_DIR/rabbitmq
  alive epmd || start_epmd
  mkdir -p "$dir"/{data,log,config,home}
  rabbitmq_conf | write_file "$dir/rabbitmq.conf"
  printf '[].\n' | write_file "$dir/enabled_plugins"
  : >"$dir/rabbitmq-env.conf"
  printf '%s' "${SECRET[ERLANG_COOKIE]}" | write_file "$dir/home/.erlang.cookie"
  chmod 400 "$dir/home/.erlang.cookie"
  # With RUNNING_UNDER_SYSTEMD the start script becomes the server itself, so that our pid is the server's.
  launch rabbitmq PATH="$PATH" LANG=C.UTF-8 HOME="$dir/home" RUNNING_UNDER_SYSTEMD=true \
    ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT="${PORT[epmd]}" ERL_CRASH_DUMP="$dir/log/erl_crash.dump" \
    RABBITMQ_NODENAME="$(node_name)" RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_NODE_PORT="${PORT[amqp]}" \
    RABBITMQ_DIST_PORT="${PORT[rabbit-dist]}" \
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='-kernel inet_dist_use_interface {127,0,0,1}' \
    RABBITMQ_MNESIA_BASE="$dir/data" RABBITMQ_LOG_BASE="$dir/log" RABBITMQ_LOGS=- \
    RABBITMQ_CONF_ENV_FILE="$dir/rabbitmq-env.conf" RABBITMQ_CONFIG_FILE="$dir/rabbitmq.conf" \
    RABBITMQ_CONFIG_FILES="$dir/conf.d" RABBITMQ_ADVANCED_CONFIG_FILE="$dir/advanced.config" \
    RABBITMQ_GENERATED_CONFIG_DIR="$dir/config" RABBITMQ_ENABLED_PLUGINS_FILE="$dir/enabled_plugins" \
    -- "$RABBITMQ_SERVER"
}

# The write-ahead log of the quorum queues sits in memory too. When it is full the broker is busy with it for some tenths of a
# second, and a small one is full often. By default it may grow to 512 MB.
rabbitmq_conf() {
  cat <<CONF
listeners.tcp.local = 127.0.0.1:${PORT[amqp]}
default_user = webhook
default_pass = ${SECRET[RABBITMQ_PASSWORD]}
log.console = true
log.console.level = info
log.file = false
vm_memory_high_watermark.absolute = 2GiB
disk_free_limit.absolute = 100MB
raft.wal_max_size_bytes = 268435456
CONF
}

node_name() { printf 'webhook%s@localhost' "$(cksum <<<"$RUN_DIR" | cut -d ' ' -f 1)"; }

start_subscription-service() {
  local settings
  mapfile -t settings < <(handed_on WEBHOOK_{ALLOW_CIDRS,ALLOW_HTTP,DNS,ORIGIN,PUBLIC_URL,ADMIN_TOKENS,CONSUMER_RATE,CONSUMER_EVENT_RATE,CONSUMER_SUBSCRIPTIONS,AUDIT_ENTRIES,MAX_CONNECTIONS} \
    WEBHOOK_PORTAL_{ADMIN,ADMIN_URL,FRAME_ANCESTORS} WEBHOOK_LOG_LEVEL WEBHOOK_SHUTDOWN_TIMEOUT "${OVER_TLS[@]}" "${TRACING[@]}")
  launch subscription-service "${settings[@]}" \
    REDIS_URL="$(their_redis_url)" AMQP_URL="$(their_amqp_url)" \
    WEBHOOK_GATEWAY_KEY_FILE="$RUN_DIR/gateway.keys" WEBHOOK_ADMIN_TOKEN="${SECRET[WEBHOOK_ADMIN_TOKEN]}" \
    WEBHOOK_KEYRING_FILE="$RUN_DIR/keyring" \
    WEBHOOK_LISTEN="$(local_address subscription)" WEBHOOK_ADMIN_LISTEN="$(local_address admin)" \
    -- "$ROOT/bin/subscription-service"
}

start_event-listener() {
  local settings
  mapfile -t settings < <(handed_on WEBHOOK_REPLAY_RATE WEBHOOK_LOG_LEVEL WEBHOOK_SHUTDOWN_TIMEOUT "${OVER_TLS[@]}" "${TRACING[@]}")
  launch event-listener "${settings[@]}" REDIS_URL="$(their_redis_url)" AMQP_URL="$(their_amqp_url)" \
    WEBHOOK_METRICS_LISTEN="$(local_address listener-metrics)" \
    -- "$ROOT/bin/event-listener"
}

start_callback-service() {
  local settings
  mapfile -t settings < <(handed_on WEBHOOK_{RETRY_SCHEDULE,CALLBACK_TIMEOUT,MAX_IN_FLIGHT,BULK_RATE,DISABLE_AFTER,AUDIT_ENTRIES,ORIGIN,PUBLIC_URL,VERIFICATION_SCHEDULE} WEBHOOK_LOG_LEVEL WEBHOOK_SHUTDOWN_TIMEOUT "${OVER_TLS[@]}" "${TRACING[@]}")
  launch callback-service "${settings[@]}" REDIS_URL="$(their_redis_url)" AMQP_URL="$(their_amqp_url)" \
    WEBHOOK_CALLBACK_KEY_FILE="$RUN_DIR/callback.keys" WEBHOOK_GATEWAY_URL="$(their_gateway_url)" \
    WEBHOOK_KEYRING_FILE="$RUN_DIR/keyring" \
    WEBHOOK_METRICS_LISTEN="$(local_address callback-metrics)" \
    -- "$ROOT/bin/callback-service"
}

start_gateway() {
  local settings
  mapfile -t settings < <(handed_on WEBHOOK_{ALLOW_CIDRS,ALLOW_HTTP,DNS,EGRESS_PROXY,LOG_LEVEL} WEBHOOK_REDIS_{CA,CERT,KEY} SSL_CERT_FILE "${TRACING[@]}")
  make_gateway_dir
  mkdir -p "$RUN_DIR/trust"
  # Endpoints may have certificates of the authorities in that folder, too: for tests, who put theirs there and restart the gateway.
  launch gateway PATH="$PATH" "${settings[@]}" SSL_CERT_DIR="$RUN_DIR/trust" REDIS_URL="$(their_redis_url)" \
    WEBHOOK_GATEWAY_KEY_FILE="$RUN_DIR/gateway.keys" WEBHOOK_CALLBACK_KEY_FILE="$RUN_DIR/callback.keys" \
    WEBHOOK_KEYRING_FILE="$RUN_DIR/keyring" \
    WEBHOOK_RUNNER="$ROOT/bin/webhook-runner" WEBHOOK_EGRESS="$(local_address egress)" \
    WEBHOOK_SUBSCRIPTION_NODE="$(local_address subscription)" \
    WEBHOOK_GATEWAY_IP=127.0.0.1 WEBHOOK_GATEWAY_PORT="${PORT[gateway]}" \
    WEBHOOK_GATEWAY_METRICS_IP=127.0.0.1 WEBHOOK_GATEWAY_METRICS_PORT="${PORT[gateway-metrics]}" \
    WEBHOOK_RUNNER_METRICS_LISTEN="$(local_address runner-metrics)" \
    -- "$ROOT/bin/devgateway" -conf "$ROOT/apisix-conf" -run-dir "$GATEWAY_DIR"
}

# make_gateway_dir: the folder of the runner's socket, whose path may have 107 characters at most.
make_gateway_dir() {
  if ((${#RUN_DIR} > 60)) && [[ $GATEWAY_DIR == "$RUN_DIR/gateway" ]]; then
    GATEWAY_DIR=$(mktemp -d /tmp/webhook.XXXXXX)
    printf '%s\n' "$GATEWAY_DIR" >"$RUN_DIR/gateway.dir"
  fi
  mkdir -p "$GATEWAY_DIR"
}

remove_gateway_dir() {
  rm -rf "$GATEWAY_DIR" "$RUN_DIR/gateway.dir"
  GATEWAY_DIR=$RUN_DIR/gateway
}

# ---------------------------------------------------------------- is it well?

probe() {
  case $1 in
  redis) redis_answers "${PORT[redis]}" "${SECRET[REDIS_PASSWORD]}" ;;
  rabbitmq) amqp_answers "${PORT[amqp]}" ;;
  # Without a key the answer is 401, and it comes from the runner behind the gateway.
  gateway) http_is "${PORT[gateway]}" POST /orders/subscribe 401 ;;
  *) http_is "$(health_port "$1")" GET /readyz 200 ;;
  esac
}

health_port() {
  case $1 in
  subscription-service) printf '%s' "${PORT[admin]}" ;;
  event-listener) printf '%s' "${PORT[listener-metrics]}" ;;
  callback-service) printf '%s' "${PORT[callback-metrics]}" ;;
  esac
}

# last_answer shows what an unhealthy process says of itself.
last_answer() {
  case $1 in
  redis | rabbitmq) ;;
  gateway) http_call "${PORT[gateway]}" POST /orders/subscribe ;;
  *) http_call "$(health_port "$1")" GET /readyz ;;
  esac | tr -d '\r\0'
}

wait_healthy() {
  local deadline=$((SECONDS + ${STACK_TIMEOUT:-120}))
  until probe "$1"; do
    alive "$1" || fail "$1" "$1 has ended"
    ((SECONDS < deadline)) || fail "$1" "$1 is not healthy after ${STACK_TIMEOUT:-120} s"
    sleep 0.1
  done
}

# fail NAME WHY shows the guilty log; the exit trap stops what this call has started.
fail() {
  say "error: $2"
  last_answer "$1" >&2 || true
  say "--- the last lines of $RUN_DIR/log/$1.log"
  tail -n 40 "$RUN_DIR/log/$1.log" >&2 || true
  say "---"
  exit 1
}

# ---------------------------------------------------------------- the verbs

STARTED=()

# ensure NAME starts a process unless it runs, and remembers that for a rollback.
ensure() {
  if alive "$1"; then return; fi
  check_ports "$1"
  STARTED+=("$1")
  if [[ $1 == rabbitmq ]] && ! alive epmd; then STARTED+=(epmd); fi
  "start_$1"
}

# check_ports says whose port is taken, before the process says so in its own words.
check_ports() {
  local name names
  case $1 in
  redis) names=(redis) ;;
  rabbitmq) names=(amqp rabbit-dist) ;;
  subscription-service) names=(subscription admin) ;;
  gateway) names=(gateway gateway-metrics egress runner-metrics) ;;
  event-listener) names=(listener-metrics) ;;
  callback-service) names=(callback-metrics) ;;
  esac
  sweep "$1" # a killed gateway's runner may hold a port
  for name in "${names[@]}"; do
    if port_taken "${PORT[$name]}"; then
      die "$1: port ${PORT[$name]} ($name) is taken by another process; 'down' and 'up' choose new ports"
    fi
  done
}

roll_back() {
  local code=$? name
  ((code != 0)) || return 0
  trap '' INT TERM
  for name in "${STOP_ORDER[@]}"; do
    if [[ " ${STARTED[*]-} " == *" $name "* ]]; then halt "$name" 25; fi
  done
  exit "$code"
}

start_infra() {
  local name
  for name in "${INFRA[@]}"; do
    if is_private "$name"; then ensure "$name"; fi
  done
}

wait_infra() {
  local name
  for name in "${INFRA[@]}"; do
    if is_private "$name"; then wait_healthy "$name"; fi
  done
}

install_missing() {
  local missing=()
  if is_private redis; then command -v redis-server >/dev/null || missing+=(redis-server); fi
  if is_private rabbitmq; then [[ -x $RABBITMQ_SERVER ]] || missing+=(rabbitmq-server); fi
  ((${#missing[@]} == 0)) || apt_install "the stack" "${missing[@]}"
}

settle_stack() {
  make_secrets
  choose_ports
  choose_settings
  install_missing
  trap roll_back EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
}

cmd_infra() {
  settle_stack
  start_infra
  wait_infra
  write_env
  print_urls
}

cmd_up() {
  local name
  settle_stack
  start_infra
  build
  wait_infra
  for name in "${SERVICES[@]}"; do ensure "$name"; done
  for name in "${SERVICES[@]}"; do wait_healthy "$name"; done
  write_env
  print_urls
}

# build makes the binaries while the broker boots; a stack that runs keeps the ones it has.
build() {
  local name
  for name in "${SERVICES[@]}"; do
    if ! alive "$name"; then
      make --no-print-directory -C "$ROOT" build >&2
      return
    fi
  done
}

write_env() {
  {
    if any_alive "${SERVICES[@]}"; then
      env_line GATEWAY_URL "http://$(local_address gateway)"
      env_line ADMIN_URL "http://$(local_address admin)"
      env_line ADMIN_TOKEN "${SECRET[WEBHOOK_ADMIN_TOKEN]}"
    fi
    env_line AMQP_URL "$(amqp_url)"
    env_line REDIS_URL "$(redis_url)"
    if any_alive "${SERVICES[@]}"; then
      env_line CALLBACK_METRICS_URL "http://$(local_address callback-metrics)/metrics"
      env_line LISTENER_METRICS_URL "http://$(local_address listener-metrics)/metrics"
      env_line SUBSCRIPTION_METRICS_URL "http://$(local_address admin)/metrics"
      env_line RUNNER_METRICS_URL "http://$(local_address runner-metrics)/metrics"
    fi
  } | write_file "$RUN_DIR/env"
}

# print_urls leaves out the token and hides the passwords; the file has them.
print_urls() {
  grep -v '^ADMIN_TOKEN=' "$RUN_DIR/env" | sed -E 's#(://[^:/@]*):[^@/]*@#\1:…@#'
  printf 'all of it, with the admin token: source %q\n' "$RUN_DIR/env"
  printf 'the command line for it: bin/webhookctl; is all well: bin/webhookctl doctor\n'
}

# seconds_to_stop NAME: a little more than the process itself takes for an orderly end.
seconds_to_stop() {
  case $1 in
  redis | epmd) printf 10 ;;
  rabbitmq) printf 30 ;;
  *) printf 25 ;;
  esac
}

stop_one() {
  halt "$1" "$(seconds_to_stop "$1")"
  if [[ $1 == rabbitmq ]]; then halt epmd 10; fi
}

cmd_down() {
  local name
  for name in "${STOP_ORDER[@]}"; do halt "$name" "$(seconds_to_stop "$name")"; done
  remove_gateway_dir
  rm -f "$RUN_DIR/env"
}

cmd_wipe() {
  cmd_down
  rm -rf "$RUN_DIR"/{redis,rabbitmq,log,pid,trust,ports,settings,secrets.env,keyring,gateway.keys,callback.keys,.lock}
  rmdir "$RUN_DIR" 2>/dev/null || true # other stacks may live below it
}

cmd_status() {
  local name state code=0
  for name in "${INFRA[@]}" "${SERVICES[@]}"; do
    if ! is_private "$name"; then
      state="not ours: given by its URL"
    elif ! alive "$name"; then
      state=stopped code=3
    elif probe "$name"; then
      state="healthy (pid $(live_pid "$name"))"
    else
      state="not healthy (pid $(live_pid "$name"))" code=3
    fi
    printf '%-22s %s\n' "$name" "$state"
  done
  return "$code"
}

cmd_start() {
  need_settled "$1"
  trap roll_back EXIT
  [[ $1 != @(redis|rabbitmq) ]] || install_missing
  ensure "$1"
  wait_healthy "$1"
}

cmd_stop() {
  need_settled "$1"
  stop_one "$1"
}

cmd_restart() {
  cmd_stop "$1"
  cmd_start "$1"
}

cmd_run() {
  local name
  need_settled "$1"
  [[ " ${SERVICES[*]} " == *" $1 "* ]] || die "'run' is for services: ${SERVICES[*]}"
  if alive "$1"; then die "$1 runs already; 'stop' it first"; fi
  check_ports "$1"
  for name in "${HANDED_ON[@]}"; do
    [[ -z ${!name:-} ]] || SETTING[$name]=${!name}
  done
  for name in WEBHOOK_{ALLOW_CIDRS,ALLOW_HTTP,PUBLIC_URL}; do
    [[ ! -v $name ]] || SETTING[$name]=${!name} # even as empty
  done
  FOREGROUND=yes
  "start_$1"
}

cmd_rabbitmqctl() {
  need_settled rabbitmq
  HOME=$RUN_DIR/rabbitmq/home ERL_EPMD_PORT=${PORT[epmd]} RABBITMQ_NODENAME=$(node_name) \
    RABBITMQ_CONF_ENV_FILE=$RUN_DIR/rabbitmq/rabbitmq-env.conf exec "${RABBITMQ_SERVER%-server}ctl" "$@"
}

cmd_redis-cli() {
  need_settled redis
  REDISCLI_AUTH=${SECRET[REDIS_PASSWORD]} exec redis-cli -h 127.0.0.1 -p "${PORT[redis]}" "$@"
}

cmd_kill() {
  local pid
  if [[ $1 == runner ]]; then
    for pid in $(runner_pids); do kill -KILL "$pid" && return; done
    die "no runner of this stack is running"
  fi
  need_settled "$1"
  crash "$1"
}

# need_settled NAME: single processes can be handled only in a stack that has been up, and only its own.
need_settled() {
  [[ " ${INFRA[*]} ${SERVICES[*]} " == *" $1 "* ]] || die "unknown process '$1'; one of: ${INFRA[*]} ${SERVICES[*]}"
  [[ -f $RUN_DIR/settings ]] || die "$RUN_DIR holds no stack; 'up' makes one"
  is_private "$1" || die "$1 was given by its URL; this stack did not start it"
}

# ---------------------------------------------------------------- main

# lock lets one call change a stack at a time.
lock() {
  exec 9>"$RUN_DIR/.lock"
  flock -w 600 9 || die "another call holds $RUN_DIR/.lock"
}

run_compose() {
  case $1 in
  up) compose_up ;;
  down) compose_down ;;
  wipe) need_docker && compose down --remove-orphans --volumes && rm -f "$RUN_DIR/kind" "$RUN_DIR/env" ;;
  status) compose ps ;;
  start) compose up -d --wait --no-recreate "$2" ;;
  stop | restart | kill) compose "$1" "$2" ;;
  *) die "no '$1' for a compose stack" ;;
  esac
}

main() {
  local verb=${1:-help}
  case $verb in
  infra | up | down | wipe | status) (($# == 1)) || { usage >&2; exit 2; } ;;
  start | stop | kill | restart | run) (($# == 2)) || { usage >&2; exit 2; } ;;
  rabbitmqctl | redis-cli) (($# >= 2)) || { usage >&2; exit 2; } ;;
  help | -h | --help) usage; exit ;;
  *) usage >&2; exit 2 ;;
  esac
  if [[ $verb == @(down|wipe|status) && ! -d ${RUN_DIR:=.run} ]]; then
    say "nothing runs in $RUN_DIR"
    [[ $verb != status ]] || exit 3
    exit 0
  fi
  make_run_dir
  [[ $verb == @(status|rabbitmqctl|redis-cli) ]] || lock
  remember
  choose_kind "$verb"
  if [[ $KIND == compose ]]; then run_compose "$@"; else "cmd_$verb" "${@:2}"; fi
}

# choose_kind: STACK decides what `up` makes; everything else goes by what is there.
choose_kind() {
  local there
  there=$(cat "$RUN_DIR/kind" 2>/dev/null) || there=native
  KIND=$there
  [[ $1 == @(up|infra) ]] || return 0
  KIND=${STACK:-$there}
  [[ $KIND == @(native|compose) ]] || die "STACK=$KIND: it is 'native' or 'compose'"
  if [[ $KIND != "$there" ]] && { [[ $there == compose ]] || any_alive "${INFRA[@]}" "${SERVICES[@]}"; }; then
    die "a $there stack is up in $RUN_DIR; 'down' first"
  fi
}

main "$@"
