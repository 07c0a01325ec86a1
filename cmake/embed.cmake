# SPDX-License-Identifier: Apache-2.0
# Files inside the program, for pages that need no installation.
#
# fastcache_embed(layer folder): all files in src/<layer>/<folder>/ become part of fastcache_<layer>, as the
# function that src/<layer>/<folder>_files.h declares. Run as a script (cmake -P), this file writes the source.

if(CMAKE_SCRIPT_MODE_FILE)
  string(REPLACE "|" ";" names "${NAMES}")
  set(arrays "")
  set(rows "")
  set(index 0)
  foreach(name ${names})
    file(READ "${FOLDER}/${name}" bytes HEX)
    string(REGEX REPLACE "(..)" "0x\\1," bytes "${bytes}")
    string(APPEND arrays "const unsigned char kFile${index}[] = {${bytes}0};\n")  # a file may be empty
    string(APPEND rows "    {\"${name}\", {reinterpret_cast<const char*>(kFile${index}), sizeof(kFile${index}) - 1}},\n")
    math(EXPR index "${index} + 1")
  endforeach()
  file(WRITE "${OUTPUT}" "// SPDX-License-Identifier: Apache-2.0
// Written by cmake/embed.cmake.
#include \"${HEADER}\"

namespace fastcache::${NAMESPACE} {
namespace {

${arrays}
const WebFile kFiles[] = {
${rows}};

}  // namespace

std::span<const WebFile> web_files() { return kFiles; }

}  // namespace fastcache::${NAMESPACE}
")
  return()
endif()

set(FASTCACHE_EMBED_SCRIPT "${CMAKE_CURRENT_LIST_FILE}")

function(fastcache_embed layer folder)
  if(NOT TARGET fastcache_${layer})
    return()
  endif()
  set(path "${PROJECT_SOURCE_DIR}/src/${layer}/${folder}")
  file(GLOB names RELATIVE "${path}" CONFIGURE_DEPENDS "${path}/*")
  set(files ${names})
  list(TRANSFORM files PREPEND "${path}/")
  string(REPLACE ";" "|" joined "${names}")
  set(output "${PROJECT_BINARY_DIR}/embedded/${layer}_${folder}.cc")
  add_custom_command(
    OUTPUT "${output}"
    COMMAND "${CMAKE_COMMAND}" "-DFOLDER=${path}" "-DNAMES=${joined}" "-DHEADER=${layer}/${folder}_files.h"
            "-DNAMESPACE=${layer}" "-DOUTPUT=${output}" -P "${FASTCACHE_EMBED_SCRIPT}"
    DEPENDS ${files} "${FASTCACHE_EMBED_SCRIPT}"
    COMMENT "Embedding src/${layer}/${folder}"
    VERBATIM)
  target_sources(fastcache_${layer} PRIVATE "${output}")
endfunction()
