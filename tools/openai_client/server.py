# SPDX-License-Identifier: Apache-2.0
"""A server of its own for the checks, on a port that the system picks."""
import os
import re
import signal
import subprocess
import tempfile
import urllib.request

KEY = "a-key-of-the-checks"


class Server:
    """with Server(program, "--option", ...) as server: server.url"""

    def __init__(self, program: str, *options: str):
        self.command = [program, "serve", "--port", "0", "--api-key-file", "", *options]

    def __enter__(self):
        self.keys = tempfile.NamedTemporaryFile("w", suffix=".keys")
        self.keys.write(KEY + "\n")
        self.keys.flush()
        os.chmod(self.keys.name, 0o600)
        self.command[self.command.index("--api-key-file") + 1] = self.keys.name
        self.process = subprocess.Popen(self.command, stderr=subprocess.PIPE, text=True, errors="replace")
        self.log = []
        for line in self.process.stderr:
            self.log.append(line)
            if found := re.search(r"ready: (https?://\S+?)/?\s", line + " "):
                self.url = found[1]
                break
        else:
            raise SystemExit("the server did not start:\n" + "".join(self.log))
        # Nobody reads the log from here on: a full pipe must not hold the server up.
        subprocess.Popen(["cat"], stdin=self.process.stderr, stdout=subprocess.DEVNULL)
        return self

    def __exit__(self, *error):
        self.process.send_signal(signal.SIGTERM)
        self.exit_code = self.process.wait(timeout=60)
        self.keys.close()

    def get(self, path: str, key: str = KEY) -> str:
        request = urllib.request.Request(self.url + path, headers={"Authorization": f"Bearer {key}"})
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.read().decode()

    def metric(self, name: str) -> float:
        """The sum over all labels."""
        found = re.findall(rf"^{re.escape(name)}(?:\{{[^}}]*\}})? (\S+)$", self.get("/metrics"), re.M)
        if not found:
            raise AssertionError(f"/metrics has no {name}")
        return sum(map(float, found))
