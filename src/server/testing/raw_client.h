// SPDX-License-Identifier: Apache-2.0
// A client that sends exactly the bytes it is told to, on a blocking socket. For tests.
#pragma once

#include <map>
#include <string>
#include <string_view>

namespace fastcache::server::testing {

struct RawReply {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;                            // of a chunked answer: joined
  bool whole = false;                          // false: the connection ended before the answer did
};

class RawClient {
 public:
  explicit RawClient(int port, int receive_buffer_bytes = 0);  // to 127.0.0.1; throws std::runtime_error
  ~RawClient();
  RawClient(RawClient&& other) noexcept;
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  bool send(std::string_view bytes);  // false: the server has closed
  RawReply read_reply(bool to_head = false);
  std::string read_until(
      std::string_view mark);  // up to and with it; what came if the connection ends before
  std::string read_to_end();
  bool ended();  // the server closes, without sending more; waits for it

  void half_close();
  void reset();  // as a killed process's system does with unread data
  void close();
  int handle() const { return socket_; }

 private:
  bool receive();
  int socket_ = -1;
  std::string received_;
};

// One request on a connection of its own.
RawReply ask(int port, std::string_view request);

}  // namespace fastcache::server::testing
