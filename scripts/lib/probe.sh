# shellcheck shell=bash
# Is something there, and is it well? Bash alone, since a fresh machine may lack curl and the servers' own tools.

# port_taken says whether anything on this machine listens on a TCP port.
port_taken() {
  local hex
  printf -v hex ':%04X' "$1"
  # Column 2 is the local address, column 4 the state; 0A is LISTEN.
  cat /proc/net/tcp /proc/net/tcp6 2>/dev/null |
    awk -v port="$hex" '$4 == "0A" && $2 ~ port "$" { found = 1 } END { exit !found }'
}

# http_call PORT METHOD PATH prints the answer of a local HTTP server, head and body.
http_call() (
  exec 3<>"/dev/tcp/127.0.0.1/$1" || exit 1
  printf '%s %s HTTP/1.1\r\nHost: 127.0.0.1:%s\r\nConnection: close\r\nContent-Length: 0\r\n\r\n' "$2" "$3" "$1" >&3
  timeout 5 cat <&3
) 2>/dev/null

# http_status PORT METHOD PATH prints the status alone.
http_status() {
  local head
  head=$(http_call "$@" | tr -d '\0' | head -n 1) || true
  [[ $head =~ ^HTTP/1\.[01]\ ([0-9]{3}) ]] && printf '%s' "${BASH_REMATCH[1]}"
}

# http_is PORT METHOD PATH STATUS
http_is() { [[ $(http_status "$1" "$2" "$3") == "$4" ]]; }

# redis_answers PORT PASSWORD: after loading its file Redis answers PING, before it does not.
redis_answers() (
  exec 3<>"/dev/tcp/127.0.0.1/$1" || exit 1
  printf 'AUTH %s\r\nPING\r\n' "$2" >&3
  read -r -t 2 auth <&3 && read -r -t 2 ping <&3 || exit 1
  [[ $auth == +OK* && $ping == +PONG* ]]
) 2>/dev/null

# amqp_answers PORT: a broker that is ready to talk sends a method frame (1) after the protocol header.
amqp_answers() (
  exec 3<>"/dev/tcp/127.0.0.1/$1" || exit 1
  printf 'AMQP\0\0\011\001' >&3
  LC_ALL=C IFS='' read -r -n 1 -t 2 frame <&3 || exit 1
  [[ $frame == $'\001' ]]
) 2>/dev/null
