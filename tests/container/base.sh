#!/usr/bin/env bash
# base.sh OUT.tar PYTHON: a stand-in for python:X.Y-slim where no image registry can be reached.
# Debian's minimal system and the Python that PYTHON is or is made from. As root, on Debian, with mmdebstrap; about a
# minute. It proves Dockerfiles; it is not for shipping: it holds this machine's certificates and pip settings.
set -euo pipefail
out=$1 python=$2
read -r prefix version < <("$python" -c 'import sys; print(sys.base_prefix, "%d.%d" % sys.version_info[:2])')
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/debian.sources 2>/dev/null | sed '/^#/d' |
  awk '!found && match($0, "https?://[^ ]*/debian/?( |$)") {print substr($0, RSTART, RLENGTH); found = 1}' || true)
work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT
tree=$work/tree

# what the interpreter and its standard library are linked to, whatever this release calls it; the package database
# knows a file below /lib or below /usr/lib, so both are asked for
{ ldd "$prefix/bin/python$version"
  find "$prefix/lib/python$version/lib-dynload" -name '*.so' ! -name '_tkinter*' -exec ldd {} +; } 2>/dev/null |
  awk '$3 ~ "^/" {sub("^/usr", "", $3); print $3; print "/usr" $3}' | sort -u >"$work/linked"
packages=$( (xargs -r -a "$work/linked" dpkg -S 2>/dev/null || true) | sed 's/:.*//' | sort -u |
  grep -v '^libc6$' | paste -sd, || true)
SOURCE_DATE_EPOCH=0 mmdebstrap --quiet --variant=minbase --mode=root --format=directory \
  --include="ca-certificates,netbase,tzdata${packages:+,$packages}" "$suite" "$tree" \
  "${mirror:-http://deb.debian.org/debian}"

mkdir -p "$tree/usr/local/bin" "$tree/usr/local/lib/python$version"
cp -a "$prefix/bin/python$version" "$tree/usr/local/bin/"
cp -a "$prefix"/lib/libpython* "$tree/usr/local/lib/" 2>/dev/null || true
tar -C "$prefix/lib/python$version" -cf - --exclude=./site-packages --exclude=./dist-packages --exclude=__pycache__ \
  --exclude=./test --exclude=./idlelib --exclude=./tkinter --exclude='*.a' . |
  tar -C "$tree/usr/local/lib/python$version" -xf -
mkdir -p "$tree/usr/local/lib/python$version/site-packages"
ln -s "python$version" "$tree/usr/local/bin/python3"
ln -s python3 "$tree/usr/local/bin/python"
cp -L /etc/resolv.conf "$tree/etc/resolv.conf"
cp -L /etc/ssl/certs/ca-certificates.crt "$tree/etc/ssl/certs/ca-certificates.crt"
if [ -f /etc/pip.conf ]; then cp /etc/pip.conf "$tree/etc/pip.conf"; fi
chroot "$tree" ldconfig
chroot "$tree" /usr/local/bin/python -c 'import ssl, sqlite3, ctypes, lzma, bz2, zlib, uuid'
chroot "$tree" /usr/local/bin/python -m ensurepip --upgrade >/dev/null 2>&1
ln -sf pip3 "$tree/usr/local/bin/pip"
tar -C "$tree" --numeric-owner -cf "$out.part" .
mv "$out.part" "$out"
