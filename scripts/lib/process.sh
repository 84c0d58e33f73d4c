# shellcheck shell=bash
# Processes that outlive the shell, each with a pid file and a log. Needs lib/common.sh, RUN_DIR and GATEWAY_DIR.
#
# A pid file holds the pid, its start time and the boot it belongs to: a pid alone may have passed on to a stranger.

# proc_field PID N prints field N of /proc/PID/stat (3 is the state, 22 the start time); the name may hold blanks.
proc_field() {
  local stat fields
  { stat=$(<"/proc/$1/stat"); } 2>/dev/null || return 1
  read -ra fields <<<"${stat##*) }"
  printf '%s' "${fields[$2 - 3]}"
}

boot_id() { cat /proc/sys/kernel/random/boot_id; }

record_pid() {
  printf '%s\n' "$2" "$(proc_field "$2" 22)" "$(boot_id)" | write_file "$RUN_DIR/pid/$1.pid"
}

# live_pid NAME prints the pid if that very process still runs.
live_pid() {
  local pid start boot
  { read -r pid && read -r start && read -r boot; } 2>/dev/null <"$RUN_DIR/pid/$1.pid" || return 1
  [[ $boot == "$(boot_id)" && $start == "$(proc_field "$pid" 22)" && $(proc_field "$pid" 3) != Z ]] || return 1
  printf '%s' "$pid"
}

alive() { live_pid "$1" >/dev/null 2>&1; }

# marker is in the environment of every process of ours, and so of most children.
marker() { printf 'STACK_PROCESS=%s#%s' "$RUN_DIR" "$1"; }

# family NAME prints the pids that belong to NAME: the process, its children, and children it left behind.
# The gateway's runner gets no environment of ours, but the address of a socket in our folder.
family() {
  local file pid
  for file in $(grep -lzFx -e "$(marker "$1")" /proc/[0-9]*/environ 2>/dev/null) $([[ $1 == gateway ]] && runners); do
    pid=${file//[!0-9]/}
    [[ $(proc_field "$pid" 3) != [ZX] ]] && printf '%s\n' "$pid"
  done
  return 0
}

# runners prints /proc/PID/environ of each plugin runner that serves our gateway.
runners() { grep -lzF -e "APISIX_LISTEN_ADDRESS=unix:$GATEWAY_DIR/" /proc/[0-9]*/environ 2>/dev/null || true; }

runner_pids() {
  local file
  for file in $(runners); do printf '%s\n' "${file//[!0-9]/}"; done
}

# launch NAME [KEY=value…] -- COMMAND…: starts a process in a session of its own. It gets the environment that is given,
# no other, and never by way of a command line, where any user of the machine could read a key. With FOREGROUND it takes
# this script's place instead.
launch() {
  local name=$1 environment=()
  shift
  while [[ $1 != -- ]]; do
    environment+=("$1")
    shift
  done
  shift
  sweep "$name"
  environment+=("$(marker "$name")")
  if [[ -n ${FOREGROUND:-} ]]; then become "$@"; fi
  become "$(command -v setsid)" "$@" </dev/null >>"$RUN_DIR/log/$name.log" 2>&1 &
  record_pid "$name" "$!"
  disown
}

# become COMMAND… goes on as the command, with what launch has gathered in environment.
become() {
  local command
  trap - INT QUIT
  cd "$RUN_DIR" || exit 1
  close_inherited
  raise_file_limit
  command=$(command -v "$1")
  forget_environment
  export "${environment[@]}"
  exec "$command" "${@:2}"
}

forget_environment() {
  local name
  while read -r _ _ name; do [[ -z $name ]] || unset -f "$name"; done <<<"$(declare -Fx)"
  for name in $(compgen -e); do unset "$name"; done
}

# close_inherited keeps the lock, make's job server and a caller's pipes out of processes that stay.
close_inherited() {
  local fd
  for fd in /proc/self/fd/*; do
    fd=${fd##*/}
    if ((fd > 2)); then eval "exec $fd>&-"; fi
  done
}

# raise_file_limit asks for enough descriptors, but not for a billion: the Erlang VM sizes tables by the limit.
raise_file_limit() {
  local hard
  hard=$(ulimit -Hn)
  if [[ $hard == unlimited ]] || ((hard > 65536)); then hard=65536; fi
  ulimit -Sn "$hard" || true
}

# halt NAME SECONDS ends a process gently, then hard, and whatever it left behind.
halt() {
  local pid
  if pid=$(live_pid "$1"); then
    kill -TERM "$pid" 2>/dev/null || true
    if ! gone_within "$2" alive "$1"; then
      say "$1 ($pid) did not stop within $2 s; killing it"
      kill -KILL "$pid" 2>/dev/null || true
      gone_within 10 alive "$1" || say "$1 ($pid) can't be killed"
    fi
  fi
  sweep "$1"
  rm -f "$RUN_DIR/pid/$1.pid"
}

# crash NAME ends a process the hard way, with whatever it left behind.
crash() {
  local pid
  pid=$(live_pid "$1") || die "$1 is not running"
  kill -KILL "$pid"
  gone_within 10 alive "$1" || die "$1 ($pid) can't be killed"
  sweep "$1"
  rm -f "$RUN_DIR/pid/$1.pid"
}

# sweep NAME removes what a dead process left behind, for example the runner of a killed gateway.
sweep() {
  signal_family TERM "$1"
  gone_within 3 has_family "$1" || signal_family KILL "$1"
  gone_within 5 has_family "$1" || say "some processes of $1 can't be killed"
}

signal_family() {
  local pid
  for pid in $(family "$2"); do kill "-$1" "$pid" 2>/dev/null || true; done
}

has_family() { [[ -n $(family "$1") ]]; }

# gone_within SECONDS CONDITION… waits until the condition no longer holds.
gone_within() {
  local deadline=$((SECONDS + $1 + 1))
  shift
  while "$@"; do
    ((SECONDS < deadline)) || return 1
    sleep 0.1
  done
}
