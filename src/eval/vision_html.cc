// SPDX-License-Identifier: Apache-2.0
#include "eval/vision_html.h"

#include <map>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "eval/report_page.h"
#include "eval/vision_json.h"
#include "eval/vision_message.h"
#include "image/data_url.h"

namespace fastcache::eval {
namespace {

using Json = nlohmann::json;

// The pictures of a page, each once.
class PagePictures {
 public:
  explicit PagePictures(size_t most_bytes) : left_bytes_(most_bytes) {}

  size_t index_of(const std::string& path) {
    const auto [at, is_new] = index_.emplace(path, urls_.size());
    if (is_new) urls_.push_back(url_of(path));
    return at->second;
  }
  const std::vector<std::string>& urls() const { return urls_; }  // "": left out

 private:
  std::string url_of(const std::string& path) {
    try {
      const std::vector<uint8_t> file = picture_bytes(path);
      if (file.size() > left_bytes_) return {};
      left_bytes_ -= file.size();
      return image::make_data_url(file);
    } catch (const Error& error) {
      log().warn("the page does without a picture: {}", error.what());
      return {};
    }
  }

  size_t left_bytes_;
  std::map<std::string, size_t> index_;
  std::vector<std::string> urls_;
};

Json as_json(const VisionQuestion& question, const VisionAnswer& answer, bool blind, PagePictures& pictures) {
  Json shown = Json::array();
  if (!blind)
    for (const std::string& path : question.pictures) shown.push_back(pictures.index_of(path));
  const std::string asked = blind ? text_of(question) : question.question;
  return {{"source", question.source}, {"category", question.category},
          {"before", question.before}, {"pictures", shown},
          {"question", asked},         {"accepted", question.answer},
          {"answer", answer.text},     {"score", answer.score}};
}

}  // namespace

std::string vision_html(const VisionResult& result, const std::string& chart_js, const PageLimits& limits) {
  PagePictures pictures(limits.picture_bytes);
  Json wrong = Json::array();
  size_t n_wrong = 0;
  for (size_t i = 0; i < result.questions.size(); ++i) {
    const VisionAnswer& answer = result.answers[i];
    if (!answer.asked || !answer.error.empty() || answer.score == 1) continue;
    if (n_wrong++ < limits.answers)
      wrong.push_back(as_json(result.questions[i], answer, result.options.blind, pictures));
  }
  Json data = vision_json(result);
  data.erase("answers");
  data["wrong"] = std::move(wrong);
  data["n_wrong"] = n_wrong;
  data["pictures"] = pictures.urls();
  return make_page("vision", data, chart_js);
}

}  // namespace fastcache::eval
