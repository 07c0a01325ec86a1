// SPDX-License-Identifier: Apache-2.0
#include "server/tls.h"

#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include <new>

#include "base/error.h"

namespace fastcache::server {
namespace {

struct FreeContext {
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
};
struct FreeSession {
  void operator()(SSL* session) const { SSL_free(session); }
};

class TlsTransport final : public Transport {
 public:
  TlsTransport(SSL_CTX* context, int socket) : session_(SSL_new(context)) {
    if (session_ == nullptr || SSL_set_fd(session_.get(), socket) != 1) throw std::bad_alloc();
    SSL_set_accept_state(session_.get());
  }

  Io handshake() override {
    ERR_clear_error();
    return outcome(SSL_do_handshake(session_.get()));
  }

  Transferred read(std::span<char> into) override {
    Transferred read;
    ERR_clear_error();
    read.io = outcome(SSL_read_ex(session_.get(), into.data(), into.size(), &read.bytes));
    return read;
  }

  Transferred write(std::string_view bytes) override {
    Transferred written;
    ERR_clear_error();
    written.io = outcome(SSL_write_ex(session_.get(), bytes.data(), bytes.size(), &written.bytes));
    return written;
  }

  void say_goodbye() override {
    ERR_clear_error();
    if (!broken_) SSL_shutdown(session_.get());
  }

 private:
  Io outcome(int result) {
    if (result == 1) return Io::done;
    switch (SSL_get_error(session_.get(), result)) {
      case SSL_ERROR_WANT_READ:
        return Io::wants_read;
      case SSL_ERROR_WANT_WRITE:
        return Io::wants_write;
      case SSL_ERROR_ZERO_RETURN:
        return Io::closed;
      default:
        broken_ = true;
        return Io::failed;
    }
  }

  std::unique_ptr<SSL, FreeSession> session_;
  bool broken_ = false;  // nothing more may be asked of the session
};

[[noreturn]] void refuse(const char* what, const std::string& file) {
  char reason[256] = "unknown reason";
  if (const unsigned long error = ERR_peek_error(); error != 0)
    ERR_error_string_n(error, reason, sizeof reason);
  ERR_clear_error();
  throw Error{Code::bad_request, fmt::format("TLS {} {} cannot be used: {}", what, file, reason)};
}

}  // namespace

struct TlsContext::Impl {
  std::unique_ptr<SSL_CTX, FreeContext> context{SSL_CTX_new(TLS_server_method())};
};

TlsContext::TlsContext(const std::string& chain_file, const std::string& key_file)
    : impl_(std::make_unique<Impl>()) {
  SSL_CTX* context = impl_->context.get();
  if (context == nullptr) throw std::bad_alloc();
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);  // tickets need no memory of ours
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                SSL_MODE_RELEASE_BUFFERS);  // idle connections hold no buffers
  SSL_CTX_set_options(context,
                      SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_IGNORE_UNEXPECTED_EOF);
  ERR_clear_error();
  if (SSL_CTX_use_certificate_chain_file(context, chain_file.c_str()) != 1)
    refuse("certificate file", chain_file);
  if (SSL_CTX_use_PrivateKey_file(context, key_file.c_str(), SSL_FILETYPE_PEM) != 1)
    refuse("key file", key_file);
  if (SSL_CTX_check_private_key(context) != 1) refuse("key of another certificate in", key_file);
}

TlsContext::~TlsContext() = default;

std::unique_ptr<Transport> TlsContext::make_transport(int socket) const {
  return std::make_unique<TlsTransport>(impl_->context.get(), socket);
}

}  // namespace fastcache::server
