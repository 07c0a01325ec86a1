// SPDX-License-Identifier: Apache-2.0
// A certificate made on the spot, and a client that speaks TLS. For tests.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include "server/testing/raw_client.h"

namespace fastcache::server::testing {

// A self-signed certificate for localhost and its key, as files that go with the object.
class CertificateFiles {
 public:
  CertificateFiles() {
    const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key(EVP_EC_gen("P-256"), EVP_PKEY_free);
    const std::unique_ptr<X509, decltype(&X509_free)> certificate(X509_new(), X509_free);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate.get()), 0);
    X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 3600);
    X509_set_pubkey(certificate.get(), key.get());
    X509_NAME* name = X509_get_subject_name(certificate.get());
    const auto* host = reinterpret_cast<const unsigned char*>("localhost");
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, host, -1, -1, 0);
    X509_set_issuer_name(certificate.get(), name);
    X509_sign(certificate.get(), key.get(), EVP_sha256());
    write(chain, [&](std::FILE* file) { PEM_write_X509(file, certificate.get()); });
    write(this->key, [&](std::FILE* file) {
      PEM_write_PrivateKey(file, key.get(), nullptr, nullptr, 0, nullptr, nullptr);
    });
  }
  ~CertificateFiles() {
    std::filesystem::remove(chain);
    std::filesystem::remove(key);
  }

  const std::string chain =
      fmt::format("{}/fastcache_chain_{}_{}.pem", ::testing::TempDir(), ::getpid(), fmt::ptr(this));
  const std::string key =
      fmt::format("{}/fastcache_key_{}_{}.pem", ::testing::TempDir(), ::getpid(), fmt::ptr(this));

 private:
  template <class Write>
  static void write(const std::string& path, Write what) {
    std::FILE* file = std::fopen(path.c_str(), "w");
    ASSERT_NE(file, nullptr);
    what(file);
    std::fclose(file);
  }
};

class TlsClient {
 public:
  explicit TlsClient(int port, int newest_version = TLS1_3_VERSION) : socket_(port) {
    SSL_CTX_set_max_proto_version(context_.get(), newest_version);
    session_.reset(SSL_new(context_.get()));
    SSL_set_fd(session_.get(), socket_.handle());
  }
  bool connect() { return SSL_connect(session_.get()) == 1; }
  bool send(const std::string& bytes) {
    return SSL_write(session_.get(), bytes.data(), static_cast<int>(bytes.size())) > 0;
  }
  std::string read_until(const std::string& mark) {
    char buffer[4096];
    while (received_.find(mark) == received_.npos) {
      const int n = SSL_read(session_.get(), buffer, sizeof buffer);
      if (n <= 0) break;
      received_.append(buffer, static_cast<size_t>(n));
    }
    return std::exchange(received_, {});
  }
  const char* version() const { return SSL_get_version(session_.get()); }
  void close() { socket_.close(); }

 private:
  RawClient socket_;
  std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context_{SSL_CTX_new(TLS_client_method()), SSL_CTX_free};
  std::unique_ptr<SSL, decltype(&SSL_free)> session_{nullptr, SSL_free};
  std::string received_;
};

}  // namespace fastcache::server::testing
