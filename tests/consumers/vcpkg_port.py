# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""The port in cmake/vcpkg without a vcpkg, which no package has: vcpkg_port.py SOURCE_DIR OUT_DIR CMAKE OPTION...

The manifest by the rules of vcpkg's schema (microsoft/vcpkg-tool, docs/vcpkg.schema.json) and those of our version.hpp.
The portfile by CMake itself, with vcpkg's functions in place that do what they are documented to do; then what vcpkg
checks of a package that was installed, and a project that finds it.
"""
import json
import pathlib
import re
import shutil
import subprocess
import sys

IDENTIFIER = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*$")
RESERVED = re.compile(r"(prn|aux|nul|con|lpt[1-9]|com[1-9]|core|default)$")
VERSIONS = {"version", "version-string", "version-date", "version-semver"}
MANIFEST = VERSIONS | {"name", "port-version", "maintainers", "summary", "description", "homepage", "documentation",
                       "license", "dependencies", "features", "default-features", "supports", "overrides",
                       "builtin-baseline", "vcpkg-configuration"}
DEPENDENCY = {"name", "features", "default-features", "host", "platform", "version>="}
FEATURE = {"description", "dependencies", "supports"}

FUNCTIONS = r"""
function(vcpkg_cmake_configure)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "SOURCE_PATH" "OPTIONS")
  if(arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "vcpkg_cmake_configure does not know ${arg_UNPARSED_ARGUMENTS}")
  endif()
  execute_process(COMMAND ${CMAKE_COMMAND} -S ${arg_SOURCE_PATH} -B ${BUILD_DIR} -DCMAKE_BUILD_TYPE=Release
                          -DCMAKE_INSTALL_PREFIX=${CURRENT_PACKAGES_DIR} ${arg_OPTIONS} ${USER_OPTIONS}
                  COMMAND_ERROR_IS_FATAL ANY)
endfunction()
function(vcpkg_cmake_install)
  execute_process(COMMAND ${CMAKE_COMMAND} --build ${BUILD_DIR} --target install COMMAND_ERROR_IS_FATAL ANY)
endfunction()
function(vcpkg_cmake_config_fixup)  # of a package whose files are where vcpkg wants them: nothing is moved
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "PACKAGE_NAME;CONFIG_PATH" "")
  if(arg_UNPARSED_ARGUMENTS OR NOT arg_CONFIG_PATH STREQUAL "share/${arg_PACKAGE_NAME}"
     OR NOT EXISTS ${CURRENT_PACKAGES_DIR}/${arg_CONFIG_PATH})
    message(FATAL_ERROR "vcpkg_cmake_config_fixup: ${ARGV}")
  endif()
endfunction()
function(vcpkg_fixup_pkgconfig)
endfunction()
function(vcpkg_install_copyright)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "" "FILE_LIST")
  file(INSTALL ${arg_FILE_LIST} DESTINATION ${CURRENT_PACKAGES_DIR}/share/${PORT} RENAME copyright)
endfunction()
"""

problems = []


def check(holds, problem):
    if not holds:
        problems.append(problem)


def check_name(name, what):
    check(isinstance(name, str) and IDENTIFIER.match(name) and not RESERVED.match(name), f"{what}: {name!r} is no name")


def check_keys(found, allowed, what):
    check(set(found) <= allowed, f"{what}: unknown {', '.join(sorted(set(found) - allowed))}")


def check_dependencies(dependencies, what):
    for dependency in dependencies:
        if isinstance(dependency, dict):
            check_keys(dependency, DEPENDENCY, what)
            check(isinstance(dependency.get("host", False), bool), f"{what}: host is true or false")
            dependency = dependency.get("name")
        check_name(dependency, what)


def check_manifest(path, version):
    manifest = json.loads(path.read_text())
    check_keys(manifest, MANIFEST, "manifest")
    check_name(manifest.get("name"), "name")
    check(manifest.get("name") == path.parent.name, "the port's folder has another name")
    check(len(VERSIONS & set(manifest)) == 1, "exactly one version is needed")
    check(manifest.get("version-semver") == version, f"version-semver is not version.hpp's {version}")
    check(manifest.get("license") == "Apache-2.0", "license is not that of LICENSE")
    check(isinstance(manifest.get("description"), (str, list)), "description is a text")
    check_dependencies(manifest.get("dependencies", []), "dependencies")
    hosts = {d["name"] for d in manifest.get("dependencies", []) if isinstance(d, dict) and d.get("host")}
    portfile = (path.parent / "portfile.cmake").read_text()
    check("vcpkg_cmake_configure(" not in portfile or "vcpkg-cmake" in hosts, "vcpkg-cmake is not among the tools")
    check("vcpkg_cmake_config_fixup(" not in portfile or "vcpkg-cmake-config" in hosts, "vcpkg-cmake-config is not among the tools")
    for name, feature in manifest.get("features", {}).items():
        check_name(name, "feature")
        check_keys(feature, FEATURE, f"feature {name}")
        check("description" in feature, f"feature {name}: no description")
        check_dependencies(feature.get("dependencies", []), f"feature {name}")
    return manifest["name"]


def check_package(package, port, source):
    """What vcpkg looks at after an installation."""
    names = [str(path.relative_to(package)) for path in package.rglob("*")]
    check((package / "share" / port / "copyright").read_text() == (source / "LICENSE").read_text(), "no copyright")
    check((package / "share" / port / "usage").is_file(), "no usage")
    check(any(name.startswith("include/") for name in names), "no headers")
    for folder in ("debug", "lib/cmake", "share/doc", "share/man", "bin"):
        check(not (package / folder).exists(), f"{folder} is there")
    for path in package.rglob("*"):
        name = path.relative_to(package)
        if path.is_dir():
            check(any(path.iterdir()), f"{name} is empty")
        elif path.suffix in (".cmake", ".pc"):
            check(str(package.parent) not in path.read_text(), f"{name} names the folder that it was made in")


def run(*command):
    subprocess.run([str(part) for part in command], check=True)


def main():
    source, out, cmake, *options = sys.argv[1:]
    source, out = pathlib.Path(source), pathlib.Path(out)
    header = (source / "include/activation_trace/version.hpp").read_text()
    version = ".".join(re.findall(r"#define ACTIVATION_TRACE_VERSION_[A-Z]+ (\d+)", header))
    folder = source / "cmake/vcpkg/activation-trace"
    port = check_manifest(folder / "vcpkg.json", version)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    functions, package = out / "vcpkg.cmake", out / "package"
    quoted = " ".join(f"[==[{option}]==]" for option in options)
    functions.write_text(f"set(PORT {port})\nset(CURRENT_PORT_DIR [==[{folder}]==])\nset(BUILD_DIR [==[{out}/build]==])\n"
                         f"set(CURRENT_PACKAGES_DIR [==[{package}]==])\nset(USER_OPTIONS {quoted})\n{FUNCTIONS}\n"
                         f"include([==[{folder}/portfile.cmake]==])\n")
    run(cmake, "-P", functions)
    check_package(package, port, source)
    if not problems:
        consumer = source / "tests/consumers/fetch_content"
        run(cmake, "-S", consumer, "-B", out / "consumer", f"-DCMAKE_PREFIX_PATH={package}", *options)
        run(cmake, "--build", out / "consumer")
        run(out / "consumer/consumer")
    sys.exit("\n".join(problems) or 0)


main()
