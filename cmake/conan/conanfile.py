# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""Conan 2: `conan create cmake/conan`. The headers, found as after `cmake --install`, by components."""

import os
import re

from conan import ConanFile
from conan.tools.build import check_min_cppstd
from conan.tools.cmake import CMake, CMakeToolchain, cmake_layout
from conan.tools.files import copy, load

required_conan_version = ">=2.0"


class ActivationTrace(ConanFile):
    name = "activation_trace"
    description = "Decoding language models by in-context sharpness"
    license = "Apache-2.0"
    topics = ("llm", "decoding", "header-only")
    package_type = "header-library"
    settings = "os", "arch", "compiler", "build_type"
    no_copy_source = True

    @property
    def _root(self):
        return os.path.join(self.recipe_folder, "..", "..")

    def set_version(self):
        header = load(self, os.path.join(self._root, "include/activation_trace/version.hpp"))
        self.version = ".".join(re.findall(r"#define ACTIVATION_TRACE_VERSION_[A-Z]+ (\d+)", header))

    def export_sources(self):
        for pattern in ("CMakeLists.txt", "LICENSE", "cmake/*", "include/*"):
            copy(self, pattern, self._root, self.export_sources_folder)

    def layout(self):
        cmake_layout(self)

    def requirements(self):
        self.requires("nlohmann_json/[>=3.11 <4]", transitive_headers=True)

    def validate(self):
        check_min_cppstd(self, 20)

    def package_id(self):
        self.info.clear()

    def generate(self):
        toolchain = CMakeToolchain(self)
        for option in ("BUILD_TESTS", "BUILD_EXAMPLES"):
            toolchain.cache_variables["ACTIVATION_TRACE_" + option] = False
        toolchain.cache_variables["ACTIVATION_TRACE_BUILD_LIBRARIES"] = False
        toolchain.generate()

    def build(self):
        CMake(self).configure()  # there is nothing to compile

    def package(self):
        CMake(self).install()
        copy(self, "LICENSE", self.source_folder, os.path.join(self.package_folder, "licenses"))

    def package_info(self):
        # The package's own CMake files are what is found, with its components.
        self.cpp_info.set_property("cmake_find_mode", "none")
        self.cpp_info.builddirs = [os.path.join("lib", "cmake", "activation_trace")]
        self.cpp_info.bindirs = self.cpp_info.libdirs = []
        self.cpp_info.set_property("pkg_config_name", "activation_trace")
        if self.settings.os in ("Linux", "FreeBSD"):
            self.cpp_info.system_libs = ["pthread"]
