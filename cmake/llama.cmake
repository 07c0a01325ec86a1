# SPDX-License-Identifier: Apache-2.0
# Imported targets llama::ggml, llama::llama, llama::common, llama::mtmd from the per-user cache.
# scripts/llama prints the folder, and fetches and builds first if it is not there.

if(FASTCACHE_LLAMA_DIR)
  set(fastcache_llama "${FASTCACHE_LLAMA_DIR}")
else()
  execute_process(COMMAND "${PROJECT_SOURCE_DIR}/scripts/llama" ${FASTCACHE_LLAMA_VARIANT}
                  OUTPUT_VARIABLE fastcache_llama OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE failed)
  if(failed)
    message(FATAL_ERROR "scripts/llama ${FASTCACHE_LLAMA_VARIANT} failed: see above")
  endif()
endif()
# scripts/build compares this with what scripts/llama says, and configures again when they differ.
file(WRITE "${PROJECT_BINARY_DIR}/llama_dir" "${fastcache_llama}\n")

function(fastcache_import name archive)
  add_library(llama::${name} STATIC IMPORTED)
  set_target_properties(llama::${name} PROPERTIES IMPORTED_LOCATION "${fastcache_llama}/lib/lib${archive}.a")
  if(NOT EXISTS "${fastcache_llama}/lib/lib${archive}.a")
    message(FATAL_ERROR "${fastcache_llama} holds no lib/lib${archive}.a")
  endif()
endfunction()

find_package(Threads REQUIRED)
fastcache_import(ggml-base ggml-base)
fastcache_import(ggml-cpu ggml-cpu)
fastcache_import(ggml ggml)
fastcache_import(llama llama)
fastcache_import(common-base llama-common-base)
fastcache_import(httplib cpp-httplib)
fastcache_import(common llama-common)
fastcache_import(hash vendor-hash)  # mtmd digests images with it
fastcache_import(mtmd mtmd)

target_link_libraries(llama::ggml-base INTERFACE Threads::Threads ${CMAKE_DL_LIBS} m)
target_link_libraries(llama::ggml-cpu INTERFACE llama::ggml-base)
target_link_libraries(llama::ggml INTERFACE llama::ggml-cpu llama::ggml-base)
target_link_libraries(llama::llama INTERFACE llama::ggml)
target_link_libraries(llama::common INTERFACE llama::common-base llama::httplib llama::llama)
target_link_libraries(llama::mtmd INTERFACE llama::hash llama::llama)

target_include_directories(llama::ggml-base SYSTEM INTERFACE "${fastcache_llama}/include")
target_include_directories(llama::mtmd SYSTEM INTERFACE "${fastcache_llama}/include/mtmd")
# vendor/ holds llama-common's own nlohmann/json.hpp: only fastcache_model may see this target, and privately.
target_include_directories(llama::common SYSTEM INTERFACE "${fastcache_llama}/include/common"
                                                          "${fastcache_llama}/include/vendor")
