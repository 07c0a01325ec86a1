// SPDX-License-Identifier: Apache-2.0
#include "server/testing/picture_urls.h"

#include <openssl/evp.h>

namespace fastcache::server::test_support {

std::string base64(const std::vector<uint8_t>& bytes) {
  std::string text((bytes.size() + 2) / 3 * 4 + 1, '\0');  // with the zero that OpenSSL puts behind it
  const int n = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()), bytes.data(),
                                static_cast<int>(bytes.size()));
  text.resize(static_cast<size_t>(n));
  return text;
}

std::string data_url(const std::vector<uint8_t>& file, const std::string& media_type) {
  return "data:" + media_type + ";base64," + base64(file);
}

}  // namespace fastcache::server::test_support
