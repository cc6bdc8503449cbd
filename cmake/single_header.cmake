# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0

# The processors, with all that they include, as one header for who copies headers into a tree of his own:
#   cmake -DOUT=activation_trace_processors.hpp -P cmake/single_header.cmake
# It is not kept in the repository, where every change would be there twice. Whether a copy is what this tree makes:
#   cmake -DOUT=activation_trace_processors.hpp -DCHECK=ON -P cmake/single_header.cmake
cmake_minimum_required(VERSION 3.22)
if(NOT OUT)
  message(FATAL_ERROR "cmake -DOUT=FILE [-DCHECK=ON] -P ${CMAKE_CURRENT_LIST_FILE}")
endif()
set(include_dir ${CMAKE_CURRENT_LIST_DIR}/../include)
set(marker "\n#include \"activation_trace/")

# Sets `name` to the path in the first #include of ours in `text`, `before` and `after` to what is around that line.
function(split_at_include text)
  string(FIND "${text}" "${marker}" begin)
  set(name "" PARENT_SCOPE)
  if(begin EQUAL -1)
    set(before "${text}" PARENT_SCOPE)
    return()
  endif()
  math(EXPR line "${begin} + 1")
  string(SUBSTRING "${text}" 0 ${line} before)
  string(SUBSTRING "${text}" ${line} -1 rest)
  string(REGEX MATCH "^#include \"([^\"]+)\"[^\n]*" include_line "${rest}")
  set(name ${CMAKE_MATCH_1} PARENT_SCOPE)
  string(LENGTH "${include_line}" length)
  string(SUBSTRING "${rest}" ${length} -1 after)
  set(before "${before}" PARENT_SCOPE)
  set(after "${after}" PARENT_SCOPE)
endfunction()

# The text of `file` with its .inl files in place, which may be included several times, and without its other includes:
# those headers stand before it, once. One that is included under a condition is then there without it, which is what
# it is made for: every header compiles alone.
function(expand file out)
  file(READ ${include_dir}/${file} text)
  string(REPLACE "\n#pragma once\n" "\n" text "\n${text}")
  string(REGEX REPLACE "\n// SPDX-[^\n]*" "" text "${text}")
  set(expanded "")
  while(TRUE)
    split_at_include("${text}")
    string(APPEND expanded "${before}")
    if(NOT name)
      break()
    endif()
    if(name MATCHES "\\.inl$")
      expand(${name} part)
      string(APPEND expanded "${part}")
    else()
      add_header(${name})
    endif()
    set(text "${after}")
  endwhile()
  set(${out} "${expanded}" PARENT_SCOPE)
endfunction()

# Appends a header, and before it what it includes, to the global `single_header`; nothing if it is there.
function(add_header file)
  get_property(seen GLOBAL PROPERTY headers)
  if(file IN_LIST seen)
    return()
  endif()
  set_property(GLOBAL APPEND PROPERTY headers ${file})
  expand(${file} text)
  set_property(GLOBAL APPEND_STRING PROPERTY single_header "\n// ${file}${text}")
endfunction()

file(GLOB processors RELATIVE ${include_dir} ${include_dir}/activation_trace/processors/*.hpp)
list(SORT processors)
foreach(header activation_trace/version.hpp ${processors})
  add_header(${header})
endforeach()

get_property(text GLOBAL PROPERTY single_header)
string(REGEX REPLACE "\n\n\n+" "\n\n" text "${text}")
string(PREPEND text "// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
// The processors of activation_trace as one header, made by its cmake/single_header.cmake. Do not edit: changes belong
// into the headers that it is made of, which are named.
#pragma once
")
if(CHECK)
  if(EXISTS ${OUT})
    file(READ ${OUT} existing)
  endif()
  if(NOT "${existing}" STREQUAL "${text}")
    message(FATAL_ERROR "not what this tree makes:\n  ${OUT}\nMade again by:\n  cmake -DOUT=${OUT} -P ${CMAKE_CURRENT_LIST_FILE}")
  endif()
else()
  file(WRITE ${OUT} "${text}")
endif()
