#!/usr/bin/env bash
# prove.sh [pytest's words]: are images of ours built, and do their containers answer as the notebook did?
# `make container` calls it. Where docker or podman answers, that one is used. Elsewhere, as root on Debian, docker is
# installed (apt) and an engine of our own runs in a temporary folder; nothing of it is left afterwards. Where neither
# can be, it says SKIPPED and ends with 0 (with 1 if MLSHIP_CONTAINER=required).
# PYTHON: the environment with the tests' requirements. The stand-in base image is kept in ~/.cache/mlship-test.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
python=$(command -v "${PYTHON:-$root/.venv/bin/python}")
case $python in /*) ;; *) python=$PWD/$python ;; esac
work=$(mktemp -d) engine='' daemon='' clean_network=''

skip() {
  printf '\n!!!! SKIPPED: no image was built and no container run: %s\n\n' "$*"
  [ "${MLSHIP_CONTAINER:-}" != required ] || exit 1
  exit 0
}
last=$SECONDS
lap() { echo "[$((SECONDS - last)) s] $*"; last=$SECONDS; }
clean_up() {
  set +e
  if [ -n "$daemon" ]; then
    kill "$daemon"
    wait "$daemon" 2>/dev/null
    umount "$work/exec/netns/default" 2>/dev/null
    if [ -n "$clean_network" ]; then
      ip link del docker0 2>/dev/null
      iptables-save 2>/dev/null | grep -vi docker | iptables-restore 2>/dev/null
    fi
  fi
  rm -rf --one-file-system "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

as_root_on_debian() { [ "$(id -u)" = 0 ] && [ -f /etc/debian_version ] && command -v apt-get >/dev/null; }
installed() {  # PACKAGE...: those of them that exist here are there now
  local missing=() p
  for p in "$@"; do dpkg -s "$p" >/dev/null 2>&1 || missing+=("$p"); done
  [ ${#missing[@]} -gt 0 ] || return 0
  apt-get update -qq || return 1
  local known=()
  for p in "${missing[@]}"; do apt-cache show "$p" >/dev/null 2>&1 && known+=("$p"); done
  [ ${#known[@]} -gt 0 ] || return 0
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${known[@]}" >/dev/null
}

full=$("$python" -c 'import platform; print(platform.python_version())')
base=python:${full%.*}-slim

base_for() {  # ENGINE: the base image is there now; says where from
  if "$1" image inspect "$base" >/dev/null 2>&1; then from="$base, which is here"; return; fi
  if timeout 180 "$1" pull -q "docker.io/library/$base" >/dev/null 2>&1; then from="$base, fetched"; return; fi
  why="$base can be fetched from no registry"
  as_root_on_debian || return 1
  local tar
  tar=${XDG_CACHE_HOME:-$HOME/.cache}/mlship-test/base-$full-$(. /etc/os-release && echo "$VERSION_CODENAME").tar
  if [ ! -s "$tar" ]; then
    why="$base can be fetched from no registry, and mmdebstrap cannot be installed"
    installed mmdebstrap || return 1
    mkdir -p "$(dirname "$tar")"
    why="no stand-in for $base could be made"
    bash "$here/base.sh" "$tar" "$python" >"$work/base.log" 2>&1 || { tail -15 "$work/base.log"; return 1; }
  fi
  "$1" import --change 'ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin' \
    --change 'ENV LANG=C.UTF-8' "$tar" "$base" >/dev/null
  from="a stand-in for $base, made here"
}

for candidate in ${MLSHIP_TEST_ENGINE:-docker podman}; do
  command -v "$candidate" >/dev/null && timeout 20 "$candidate" info >/dev/null 2>&1 || continue
  base_for "$candidate" || skip "$why"
  # an engine may build and yet not run: rootless, in a container itself
  if timeout 60 "$candidate" run --rm "$base" python -c 0 >"$work/run.log" 2>&1; then engine=$candidate; break; fi
  echo "$candidate is here, but runs no container: $(tail -1 "$work/run.log" | cut -c1-200)"
done
if [ -z "$engine" ]; then
  as_root_on_debian || skip "neither docker nor podman runs containers, and an engine can be started only by root on Debian"
  # docker-cli and docker-buildx are packages of their own in newer releases
  installed docker.io docker-cli docker-buildx iproute2 iptables || skip "docker could not be installed by apt"
  PATH=/usr/bin:$PATH  # the client that belongs to this engine
  export DOCKER_HOST=unix://$work/docker.sock
  if ! ip link show docker0 >/dev/null 2>&1 && ! iptables-save 2>/dev/null | grep -qi docker; then clean_network=1; fi
  dockerd --data-root "$work/data" --exec-root "$work/exec" --pidfile "$work/pid" --host "$DOCKER_HOST" \
    >"$work/log" 2>&1 </dev/null &
  daemon=$!
  for _ in $(seq 120); do
    timeout 5 docker info >/dev/null 2>&1 && break
    kill -0 "$daemon" 2>/dev/null || { daemon=; skip "dockerd does not start here: $(tail -1 "$work/log")"; }
    sleep .25
  done
  timeout 5 docker info >/dev/null 2>&1 || skip "dockerd does not answer: $(tail -1 "$work/log")"
  engine=docker
  lap "engine started: docker $(docker version -f '{{.Server.Version}}')"
  base_for docker || skip "$why"
fi
lap "base image: $from"

cd "$root"
MLSHIP_TEST_ENGINE=$engine MLSHIP_HOME=$work/home "$python" -m pytest -p no:cacheprovider -s \
  tests/container "$@"
lap "proven with $engine"
