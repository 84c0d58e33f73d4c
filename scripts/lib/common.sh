# shellcheck shell=bash
# What every script here shares: messages, random secrets, small file helpers.

# say prints progress; stdout is kept for results.
say() { printf '%s\n' "$*" >&2; }

# die prints an error and ends the script with 1.
die() {
  say "error: $*"
  exit 1
}

# random_hex prints N random bytes in hexadecimal.
random_hex() { od -An -v -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }

# random_key ID prints a key for a key ring: the id, and 32 random bytes in base64.
random_key() { printf '%s:%s' "$1" "$(head -c 32 /dev/urandom | base64 -w 0)"; }

# env_line prints KEY=value, quoted only where a shell that sources the line needs it.
env_line() {
  local value=$2
  if [[ $value =~ [^a-zA-Z0-9_@%+=:,./-] ]]; then
    value="'${value//\'/\'\\\'\'}'"
  fi
  printf '%s=%s\n' "$1" "$value"
}

# write_file replaces a file in one step with what stdin holds.
write_file() {
  local part="$1.part.$$"
  cat >"$part"
  mv -f "$part" "$1"
}
