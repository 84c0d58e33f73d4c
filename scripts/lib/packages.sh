# shellcheck shell=bash
# Installs what is missing with apt-get. Needs lib/common.sh.

# as_root runs a command as root, with sudo where needed.
as_root() {
  if ((EUID == 0)); then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    die "root rights are needed to run: $*"
  fi
}

# with_services_held runs a command while dpkg may not start the system's services: this project runs its own
# instances and has no business with those. Undone afterwards; a policy that is already there is left alone.
with_services_held() (
  policy=/usr/sbin/policy-rc.d
  if [[ ! -e $policy ]]; then
    trap 'as_root rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
  fi
  "$@"
)

# apt_install installs packages; $1 says what they are for.
apt_install() {
  local why=$1
  shift
  command -v apt-get >/dev/null ||
    die "$why: no apt-get here to install $*; install it by hand"
  say "$why: installing $* with apt-get"
  # The answers of apt-get are shown only when it fails.
  local log
  log=$(mktemp)
  if ! with_services_held apt_get_quietly "$@" >"$log" 2>&1; then
    tail -n 30 "$log" >&2
    rm -f "$log"
    die "apt-get could not install $*"
  fi
  rm -f "$log"
}

apt_get_quietly() {
  local options=(-o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)
  as_root env DEBIAN_FRONTEND=noninteractive apt-get "${options[@]}" update &&
    as_root env DEBIAN_FRONTEND=noninteractive apt-get "${options[@]}" install -y --no-install-recommends "$@"
}

# need_c_compiler: the race detector links C.
need_c_compiler() {
  command -v "${CC:-gcc}" >/dev/null || apt_install "the race detector needs a C compiler" gcc libc6-dev
}

# need_snippet_tools: tests run the documents' snippets in other languages. Without apt-get one whose tools are missing is left out.
need_snippet_tools() {
  local missing=()
  # Debian's libraries are those of its own interpreter, whichever comes first in PATH.
  /usr/bin/python3 -c 'import pika' >/dev/null 2>&1 || missing+=(python3 python3-pika)
  command -v node >/dev/null || missing+=(nodejs)
  command -v npm >/dev/null || missing+=(npm)
  if ((${#missing[@]} > 0)) && command -v apt-get >/dev/null; then
    apt_install "the documents' snippets need their languages" "${missing[@]}"
  fi
}

# need_chromium: the pages are tested in a real browser. CHROMIUM names another one.
need_chromium() {
  [[ -n ${CHROMIUM:-} ]] || command -v chromium >/dev/null || apt_install "the pages are tested in a browser" chromium fonts-dejavu-core
}
