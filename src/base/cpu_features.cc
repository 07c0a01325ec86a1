// SPDX-License-Identifier: Apache-2.0
#include "base/cpu_features.h"

#include <array>
#include <cstdlib>
#include <fstream>

#include "base/error.h"
#include "base/log.h"

namespace fastcache {
namespace {

std::string read_model_name() {
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);) {
    if (line.starts_with("model name")) {
      const size_t colon = line.find(": ");
      if (colon != std::string::npos) return line.substr(colon + 2);
    }
  }
  return "unknown CPU";
}

CpuFeatures detect() {
  CpuFeatures cpu;
  cpu.model_name = read_model_name();
#if defined(__x86_64__)
  __builtin_cpu_init();
  cpu.avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  cpu.avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  cpu.avx512_vnni = cpu.avx512 && __builtin_cpu_supports("avx512vnni");
  cpu.avx512_bf16 = cpu.avx512 && __builtin_cpu_supports("avx512bf16");
#endif
  return cpu;
}

constexpr std::array kIsas{Isa::avx512, Isa::avx2, Isa::portable};

Isa select() {
  const char* forced = std::getenv("FASTCACHE_ISA");
  for (Isa isa : kIsas) {
    if (forced != nullptr) {
      if (std::string(forced) != isa_name(isa)) continue;
      if (!isa_supported(isa, cpu_features())) {
        throw Error{Code::unsupported,
                    fmt::format("FASTCACHE_ISA={}: {} does not have it", forced, cpu_features().model_name)};
      }
    }
    if (isa_supported(isa, cpu_features())) {
      log().debug("kernels: {}{} on {}", isa_name(isa), forced ? " (forced)" : "", cpu_features().model_name);
      return isa;
    }
  }
  throw Error{Code::bad_request,
              fmt::format("FASTCACHE_ISA={} is unknown; it must be avx512, avx2 or portable", forced)};
}

}  // namespace

const CpuFeatures& cpu_features() {
  static const CpuFeatures features = detect();
  return features;
}

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::avx512:
      return "avx512";
    case Isa::avx2:
      return "avx2";
    case Isa::portable:
      return "portable";
  }
  return "?";
}

bool isa_supported(Isa isa, const CpuFeatures& cpu) {
  switch (isa) {
    case Isa::avx512:
      return cpu.avx512 && cpu.avx512_vnni && cpu.avx512_bf16;
    case Isa::avx2:
      return cpu.avx2;
    case Isa::portable:
      return true;
  }
  return false;
}

Isa selected_isa() {
  static const Isa isa = select();
  return isa;
}

}  // namespace fastcache
