// SPDX-License-Identifier: Apache-2.0
// TLS 1.2 and 1.3 from certificate files.
#pragma once

#include <memory>
#include <string>

#include "server/transport.h"

namespace fastcache::server {

class TlsContext {
 public:
  // PEM files: the chain with the server's certificate first, and its key. Throws Error (bad_request): which
  // file, why.
  TlsContext(const std::string& chain_file, const std::string& key_file);
  ~TlsContext();

  std::unique_ptr<Transport> make_transport(
      int socket) const;  // may outlive the context; does not own the socket

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fastcache::server
