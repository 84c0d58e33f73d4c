# shellcheck shell=bash
# The stack with the real APISIX, on Docker. Needs lib/common.sh, ROOT and RUN_DIR.

compose() { docker compose --project-directory "$ROOT" --file "$ROOT/docker-compose.yml" "$@"; }

need_docker() {
  docker info >/dev/null 2>&1 ||
    die "STACK=compose needs a Docker engine, and none answers here ('docker info' fails); 'make up' runs without one"
  docker compose version >/dev/null 2>&1 ||
    die "STACK=compose needs Docker Compose v2 ('docker compose version' fails)"
}

compose_up() {
  need_docker
  "$ROOT/scripts/env.sh"
  mkdir -p "$RUN_DIR"
  echo compose >"$RUN_DIR/kind"
  if ! compose up -d --build --wait; then
    compose logs --tail 20 >&2 || true
    compose down || true
    rm -f "$RUN_DIR/kind"
    die "the compose stack did not become healthy; see the logs above"
  fi
  compose_env | write_file "$RUN_DIR/env"
  print_urls
}

compose_down() {
  need_docker
  compose down --remove-orphans
  rm -f "$RUN_DIR/kind" "$RUN_DIR/env"
}

# compose_env: as seen from this machine. The given URLs win, as they do inside the containers.
compose_env() (
  given_redis=${REDIS_URL:-} given_amqp=${AMQP_URL:-}
  # shellcheck source=/dev/null
  source "$ROOT/.env"
  host=127.0.0.1
  env_line GATEWAY_URL "http://$host:${GATEWAY_PORT:-9080}"
  env_line ADMIN_URL "http://$host:${ADMIN_PORT:-8082}"
  env_line ADMIN_TOKEN "$WEBHOOK_ADMIN_TOKEN"
  env_line AMQP_URL "${given_amqp:-amqp://webhook:$RABBITMQ_PASSWORD@$host:${AMQP_PORT:-5672}/}"
  env_line REDIS_URL "${given_redis:-redis://:$REDIS_PASSWORD@$host:${REDIS_PORT:-6379}/0}"
  env_line CALLBACK_METRICS_URL "http://$host:${CALLBACK_METRICS_PORT:-8084}/metrics"
  env_line LISTENER_METRICS_URL "http://$host:${LISTENER_METRICS_PORT:-8083}/metrics"
  env_line SUBSCRIPTION_METRICS_URL "http://$host:${ADMIN_PORT:-8082}/metrics"
)
