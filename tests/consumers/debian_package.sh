#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0

# The package that `cpack -G DEB` makes of this build, unpacked into an empty root and used from there.
#   debian_package.sh BUILD_DIR OUT_DIR CPACK CMAKE OPTION...      OPTION: of the consumer's cmake
set -euo pipefail
cd "$(dirname "$0")"
build=$1 out=$2 cpack=$3 cmake=$4
shift 4
command -v dpkg-deb >/dev/null || { echo "skipped: no dpkg"; exit 77; }
command -v dpkg-shlibdeps >/dev/null || { echo "skipped: no dpkg-shlibdeps (dpkg-dev)"; exit 77; }
command -v file >/dev/null || { echo "skipped: no file, which CPack asks (file)"; exit 77; }

rm -rf "$out"
mkdir -p "$out"
"$cpack" -G DEB --config "$build/CPackConfig.cmake" -B "$out" >"$out/log" 2>&1 || { cat "$out/log"; exit 1; }
packages=("$out"/*.deb)
[ ${#packages[@]} -eq 1 ] || { echo "expected one package, got ${packages[*]}"; exit 1; }
package=${packages[0]}
dpkg-deb --info "$package"
depends=$(dpkg-deb --field "$package" Depends)
grep -q 'libstdc++6 (>=' <<<"$depends" || { echo "the C interface's libraries are not among: $depends"; exit 1; }
# What is outside of these folders would be in another package's way, a path of this machine of no use on others.
dpkg-deb --fsys-tarfile "$package" | tar -t | grep -v '/$' |
  grep -vE '^\./usr/(include/activation_trace/|lib/(cmake/activation_trace/|pkgconfig/activation_trace[a-z-]*\.pc$|libactivation_trace_(kernels\.a|c\.so)$)|share/doc/libactivation-trace-dev/copyright$)' &&
  { echo "unexpected files"; exit 1; }
dpkg -x "$package" "$out/root"
grep -rIl -e "$build" "$out/root" && { echo "these files name the folder of the build"; exit 1; }

"$cmake" -S kernels -B "$out/consumer" "-DCMAKE_PREFIX_PATH=$out/root/usr" "$@"
"$cmake" --build "$out/consumer"
grep -q "activation_trace_DIR.*$out/root" "$out/consumer/CMakeCache.txt"
"$out/consumer/consumer"
PKG_CONFIG_PATH=$out/root/usr/lib/pkgconfig pkg-config --libs activation_trace-c
