# SPDX-License-Identifier: Apache-2.0
# make install: the program, completions made by the program itself, the examples of docs/ and contrib/.
include(GNUInstallDirs)

install(TARGETS fastcache RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
install(FILES "${PROJECT_SOURCE_DIR}/docs/fastcache.toml" "${PROJECT_SOURCE_DIR}/docs/serving.md"
              "${PROJECT_SOURCE_DIR}/LICENSE" DESTINATION "${CMAKE_INSTALL_DOCDIR}")

# What depends on the prefix is made when that is known: at the time of the installation.
install(CODE "set(fastcache_bin \"${CMAKE_INSTALL_BINDIR}\")
set(fastcache_data \"${CMAKE_INSTALL_DATADIR}\")
set(fastcache_doc \"${CMAKE_INSTALL_DOCDIR}\")
set(fastcache_unit \"${PROJECT_SOURCE_DIR}/contrib/systemd/fastcache.service\")
set(fastcache_program \"$<TARGET_FILE:fastcache>\")")
install(CODE [[
  set(root "$ENV{DESTDIR}${CMAKE_INSTALL_PREFIX}")
  file(READ "${fastcache_unit}" unit)
  string(REPLACE "/usr/local/bin" "${CMAKE_INSTALL_PREFIX}/${fastcache_bin}" unit "${unit}")
  file(WRITE "${root}/${fastcache_doc}/fastcache.service" "${unit}")
  message(STATUS "Installing: ${root}/${fastcache_doc}/fastcache.service")
  foreach(pair bash:bash-completion/completions/fastcache zsh:zsh/site-functions/_fastcache
               fish:fish/vendor_completions.d/fastcache.fish)
    string(REPLACE ":" ";" pair "${pair}")
    list(GET pair 0 shell)
    list(GET pair 1 file)
    execute_process(COMMAND "${fastcache_program}" completion ${shell} OUTPUT_VARIABLE script COMMAND_ERROR_IS_FATAL ANY)
    file(WRITE "${root}/${fastcache_data}/${file}" "${script}")
    message(STATUS "Installing: ${root}/${fastcache_data}/${file}")
  endforeach()
]])
