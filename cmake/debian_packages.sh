# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0

# need_packages PACKAGE...: installs those Debian packages that are missing. Without the right to do so it
# prints the command that would, and fails.
need_packages() {
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  local install=(apt-get install -y --no-install-recommends "${missing[@]}")
  if ! command -v apt-get >/dev/null; then
    echo "These packages (Debian names) are needed: ${missing[*]}" >&2
    return 1
  fi
  local sudo=()
  if [ "$(id -u)" -ne 0 ]; then
    if ! sudo -n true 2>/dev/null; then
      echo "Packages are missing. Run:  sudo ${install[*]}" >&2
      return 1
    fi
    sudo=(sudo)
  fi
  echo "Installing ${missing[*]}" >&2
  # Package lists may be absent or stale on a new machine.
  DEBIAN_FRONTEND=noninteractive "${sudo[@]}" "${install[@]}" >/dev/null 2>&1 && return 0
  "${sudo[@]}" apt-get update -qq >&2
  DEBIAN_FRONTEND=noninteractive "${sudo[@]}" "${install[@]}" >/dev/null
}

# Sizes a build to the machine and uses ccache where it is installed. Of its settings those that the user has not
# chosen: the preset cuda compiles 70 files as dev does, in another folder, which with -g is a part of ccache's key; and
# a preprocessor's run before each compiler's is saved where the compiler says itself what it has read.
build_settings() {
  CMAKE_BUILD_PARALLEL_LEVEL=$(nproc)
  export CMAKE_BUILD_PARALLEL_LEVEL
  command -v ccache >/dev/null || return 0
  export CMAKE_CXX_COMPILER_LAUNCHER=ccache CMAKE_CUDA_COMPILER_LAUNCHER=ccache
  local settings
  settings=$(ccache --show-config)
  [[ $settings != *"(default) hash_dir "* ]] || export CCACHE_NOHASHDIR=1
  [[ $settings != *"(default) base_dir "* ]] || export CCACHE_BASEDIR=$PWD
  [[ $settings != *"(default) depend_mode "* ]] || export CCACHE_DEPEND=1
}
