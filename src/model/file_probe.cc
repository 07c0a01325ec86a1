// SPDX-License-Identifier: Apache-2.0
#include "model/file_probe.h"

#include <spdlog/fmt/fmt.h>

#include <filesystem>
#include <fstream>
#include <system_error>

#include "base/error.h"
#include "base/hash.h"
#include "base/log.h"
#include "model/child_process.h"
#include "model/libllama.h"
#include "model/models.h"

namespace fastcache::model {
namespace {

namespace fs = std::filesystem;

// Empty where there is no cache folder.
fs::path success_mark(const GgufFile& file, const std::string& version) {
  try {
    const uint64_t seed = hash64(std::as_bytes(std::span(version)));
    return cache_folder() / "probed" / to_hex(hash128(file.header(), seed));
  } catch (const Error&) {
    return {};
  }
}

// Best effort: without the mark the next start just takes a little longer.
void remember(const fs::path& mark) {
  if (mark.empty()) return;
  std::error_code ignored;
  fs::create_directories(mark.parent_path(), ignored);
  if (!std::ofstream(mark).good()) log().debug("cannot write {}", mark.string());
}

}  // namespace

void probe_file(const GgufFile& file, const FileProbe& probe) {
  using Kind = ChildOutcome::Kind;
  const fs::path mark = success_mark(file, probe.version);
  std::error_code ignored;
  if (!mark.empty() && fs::exists(mark, ignored)) return;
  start_llama_library();  // before the fork: the child must not take the lock of the first call
  log();
  const auto work = [&] {
    silence_llama_library();
    log().set_level(spdlog::level::off);  // no lock: another thread may hold the logger's for ever
    return probe.work();
  };
  const ChildOutcome outcome = run_in_child(work, probe.limit, probe.memory_bytes);
  switch (outcome.kind) {
    case Kind::done:
      remember(mark);
      return;
    case Kind::failed:
      if (outcome.message.starts_with(file.path())) throw Error{Code::invalid_model, outcome.message};
      file.fail(outcome.message);
    case Kind::crashed:
      file.fail(fmt::format("{} crashes the loader ({}); the file is broken or hostile", probe.subject,
                            outcome.message));
    case Kind::timed_out:
      file.fail(fmt::format("{} keeps the loader busy for ever ({})", probe.subject, outcome.message));
  }
}

}  // namespace fastcache::model
