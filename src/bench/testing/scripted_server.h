// SPDX-License-Identifier: Apache-2.0
// A server for tests of HTTP clients that does what a script says, byte by byte: also what no good server
// does.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace fastcache::bench::test_support {

struct ReceivedCall {
  std::string method, path, body;
  std::map<std::string, std::string> headers;  // names in lower case
  int number = 0;                              // of this server's calls, from 0
};

// The connection that a call came on.
class ScriptedReply {
 public:
  explicit ScriptedReply(int socket) : socket_(socket) {}
  void send(std::string_view bytes);
  void hang_up();  // no further call is read from this connection
  bool hung_up() const { return hung_up_; }

  // HTTP/1.1 200 and the start of a chunked text/event-stream.
  void begin_stream();
  void send_chunk(std::string_view bytes);  // as one chunk of the transfer
  void end_stream();
  // With Content-Length.
  void answer(int status, std::string_view body);

 private:
  const int socket_;
  bool hung_up_ = false;
};

using Script = std::function<void(const ReceivedCall&, ScriptedReply&)>;

// Listens on a free port of 127.0.0.1; each connection has a thread, which runs the script for each call on
// it.
class ScriptedServer {
 public:
  explicit ScriptedServer(Script script);
  ~ScriptedServer();  // closes all connections; waits until their scripts return
  ScriptedServer(const ScriptedServer&) = delete;
  ScriptedServer& operator=(const ScriptedServer&) = delete;

  std::string url() const;
  int connections() const;  // that were ever made

 private:
  void accept_all();
  void serve(int socket);

  const Script script_;
  int listener_ = -1;
  int port_ = 0;
  mutable std::mutex mutex_;
  std::set<int> sockets_;  // open; under the mutex, like the rest
  std::vector<std::thread> threads_;
  int calls_ = 0, connections_ = 0;
  bool closing_ = false;
  std::thread acceptor_;
};

// "data: <json>\n\n"
std::string sse_event(std::string_view json);
// A completion's chunk with this text, as an event.
std::string text_event(std::string_view text);

}  // namespace fastcache::bench::test_support
