// SPDX-License-Identifier: Apache-2.0
// Compresses during decoding too: behind the prompt, where that is longer than the budget, and then whenever
// `every` tokens were decoded, each time all rows that the answer holds, down to the budget. So an answer
// never holds more than budget + every rows per head, the mean of its heads, however long it gets. A press
// that looks at last queries sees those of the tokens since it came last. source: DecodingPress of kvpress,
// https://github.com/NVIDIA/kvpress
#include "base/error.h"
#include "press/wrapper.h"

namespace fastcache::press {
namespace {

class Decoding final : public Wrapper {
 public:
  Decoding(std::unique_ptr<Press> inner, int every) : Wrapper(std::move(inner)), every_(every) {}

  std::vector<Stage> stages(const Budget& budget) const override { return inner().stages(budget); }
  int decode_interval() const override { return every_; }

 private:
  int every_;
};

constexpr PressNumber kNumbers[] = {{.name = "every",
                                     .standard = 512,
                                     .min = 1,
                                     .max = 1 << 20,
                                     .whole = true,
                                     .help = "tokens that are decoded between two compressions"}};

// A pass over the prompt says nothing of what was decoded behind it. Sums over all queries of a prompt say
// nothing of rows that were removed before, and would have to go on for as long as the answer does.
void check_wrapped(const PressParams& p, const PressNeeds& needs) {
  if (needs.second_pass)
    throw Error{Code::unsupported, "press 'decoding' cannot wrap '" + p.inner[0].name +
                                       "', which reads the prompt a second time"};
  if (!needs.looks_at_all_queries()) return;
  throw Error{Code::unsupported, "press 'decoding' cannot wrap '" + p.inner[0].name +
                                     "', which looks at all queries of a prompt; choose one that scores by "
                                     "keys and values, or by the last queries (snapkv, tova)"};
}

}  // namespace

extern const PressRow kDecoding;
constinit const PressRow kDecoding{
    .name = "decoding",
    .numbers = kNumbers,
    .summary = "compresses again and again while the answer grows, so that its memory stays constant",
    .amount = Amount::rows,
    .plain_scores = false,
    .wrap = [](const PressParams& p, std::vector<std::unique_ptr<Press>> inner) -> std::unique_ptr<Press> {
      check_wrapped(p, inner[0]->needs());
      return std::make_unique<Decoding>(std::move(inner[0]), static_cast<int>(p.number("every")));
    },
    .min_inner = 1,
    .max_inner = 1,
    .keeps_all = true};

}  // namespace fastcache::press
