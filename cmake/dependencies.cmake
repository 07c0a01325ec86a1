# SPDX-License-Identifier: Apache-2.0
# System packages. Names per system: README.md. Nothing is downloaded here.

find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(CLI11 REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(ZLIB REQUIRED)

# Libraries that have no CMake package on every system.
function(fastcache_find name header library)
  find_path(${name}_INCLUDE_DIR ${header})
  if(library)
    find_library(${name}_LIBRARY ${library})
  endif()
  if(NOT ${name}_INCLUDE_DIR OR (library AND NOT ${name}_LIBRARY))
    message(FATAL_ERROR "${name} not found (header ${header}): see the table of packages in README.md")
  endif()
  add_library(${name}::${name} INTERFACE IMPORTED)
  target_include_directories(${name}::${name} SYSTEM INTERFACE "${${name}_INCLUDE_DIR}")
  if(library)
    target_link_libraries(${name}::${name} INTERFACE "${${name}_LIBRARY}")
  endif()
endfunction()

fastcache_find(xxhash xxhash.h xxhash)
fastcache_find(zstd zstd.h zstd)
find_package(PNG REQUIRED)
find_package(JPEG REQUIRED)
fastcache_find(webp webp/decode.h webp)
fastcache_find(webpdemux webp/demux.h webpdemux)
fastcache_find(gif gif_lib.h gif)
find_package(tomlplusplus QUIET)
if(NOT TARGET tomlplusplus::tomlplusplus)
  fastcache_find(tomlplusplus toml++/toml.h "")
endif()

# Header-only Asio and Beast: only server/ needs them, so their absence matters only where that folder is.
find_path(boost_INCLUDE_DIR boost/beast/version.hpp)
add_library(boost::headers INTERFACE IMPORTED)
if(boost_INCLUDE_DIR)
  target_include_directories(boost::headers SYSTEM INTERFACE "${boost_INCLUDE_DIR}")
  # With a sanitizer's checks woven in, GCC takes Beast's optional numbers for uninitialised.
  if(FASTCACHE_SANITIZE AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    target_compile_options(boost::headers INTERFACE -Wno-maybe-uninitialized)
  endif()
endif()

if(FASTCACHE_TESTS)
  find_package(GTest REQUIRED)
endif()
find_package(benchmark QUIET)
