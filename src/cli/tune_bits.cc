// SPDX-License-Identifier: Apache-2.0
#include "cli/tune_bits.h"

#include <spdlog/fmt/fmt.h>
#include <spdlog/fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/error.h"
#include "engine/bit_tuning.h"
#include "model/models.h"

namespace fastcache::cli {
namespace {

constexpr size_t kMostTextBytes = size_t{64} << 20;

std::string read_text(const std::string& path) {
  if (std::filesystem::is_directory(path))
    throw Error{Code::bad_request, fmt::format("--text {}: it is a folder; name a file", path)};
  std::ifstream file(path, std::ios::binary);
  std::string text(kMostTextBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!file && !file.eof())
    throw Error{Code::not_found, fmt::format("--text {}: the file cannot be read", path)};
  text.resize(static_cast<size_t>(file.gcount()));
  if (text.size() > kMostTextBytes)
    throw Error{Code::bad_request,
                fmt::format("--text {}: it may have {} bytes at most", path, kMostTextBytes)};
  return text;
}

std::string press_text(const engine::BitTuning& tuning, int n_residual) {
  return fmt::format("quantized(layer_bits=[{}], residual={})", fmt::join(tuning.layer_bits, ", "),
                     n_residual);
}

double average(const engine::BitTuning& tuning) {
  return std::accumulate(tuning.layer_bits.begin(), tuning.layer_bits.end(), 0.0) /
         static_cast<double>(tuning.layer_bits.size());
}

std::string as_text(const engine::BitTuning& tuning, int n_tokens, int n_residual) {
  std::string text = fmt::format(
      "Relative squared error of each layer's attention output, on a text of {} tokens:\n\n"
      "layer    2 bits    4 bits    8 bits   chosen\n",
      n_tokens);
  for (size_t layer = 0; layer < tuning.errors.size(); ++layer) {
    const press::BitErrors& errors = tuning.errors[layer];
    text += fmt::format("{:5} {:9.2e} {:9.2e} {:9.2e} {:8}\n", layer, errors[0], errors[1], errors[2],
                        tuning.layer_bits[layer]);
  }
  return text +
         fmt::format("\n{:.2f} bits on average:\n{}\n", average(tuning), press_text(tuning, n_residual));
}

nlohmann::json as_json(const engine::BitTuning& tuning, int n_tokens, int n_residual) {
  nlohmann::json layers = nlohmann::json::array();
  for (size_t layer = 0; layer < tuning.errors.size(); ++layer)
    layers.push_back({{"error_2_bits", tuning.errors[layer][0]},
                      {"error_4_bits", tuning.errors[layer][1]},
                      {"error_8_bits", tuning.errors[layer][2]},
                      {"bits", tuning.layer_bits[layer]}});
  return {{"tokens", n_tokens},
          {"average_bits", average(tuning)},
          {"layers", std::move(layers)},
          {"press", press_text(tuning, n_residual)}};
}

}  // namespace

CLI::Option* add_tune_bits_options(CLI::App& command, TuneBitsOptions& options) {
  CLI::Option* tune = command.add_option(
      "--tune-bits", options.average_bits,
      "measure on --text which layer needs how many bits, for this average of quantized()");
  CLI::Option* text = command.add_option("--text", options.text_path, "a text file, for --tune-bits");
  tune->needs(text);
  text->needs(tune);
  command
      .add_option("--residual", options.n_residual,
                  "last tokens that stay as they are, for --tune-bits and in what it proposes")
      ->capture_default_str()
      ->check(CLI::Range(0, 1 << 20))
      ->needs(tune);
  command
      .add_option("-m,--model", options.model.model,
                  "for --tune-bits: GGUF file, or a name that `fastcache models` lists [the embedded model]")
      ->needs(tune);
  command
      .add_option("-t,--threads", options.model.threads, "for --tune-bits: compute threads, 0 = one per core")
      ->capture_default_str()
      ->check(CLI::Range(0, 512))
      ->needs(tune);
  return tune;
}

std::string tune_bits(const TuneBitsOptions& options, bool json) {
  press::choose_layer_bits({}, options.average_bits);  // refuses it before a model is loaded
  const std::string text = read_text(options.text_path);
  ComputePool compute(options.model.threads);
  const model::LoadedModel model(model::find_model(options.model.model).string(), compute);
  std::vector<int32_t> tokens = model.vocab.tokenize(text, {.add_special = true, .parse_special = false});
  const size_t most = static_cast<size_t>(model.hparams.context_length);
  tokens.resize(std::min(tokens.size(), most));  // a longer text: its beginning
  const engine::BitTuning tuning = engine::tune_bits(
      model, compute, tokens, {.average_bits = options.average_bits, .n_residual = options.n_residual});
  const int n_tokens = static_cast<int>(tokens.size());
  return json ? as_json(tuning, n_tokens, options.n_residual).dump(2) + "\n"
              : as_text(tuning, n_tokens, options.n_residual);
}

}  // namespace fastcache::cli
