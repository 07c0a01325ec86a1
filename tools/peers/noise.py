# SPDX-License-Identifier: Apache-2.0
"""How much CPU others took while something was measured. Linux only; elsewhere everything counts as quiet."""
import os
import time

TICK = os.sysconf("SC_CLK_TCK")
CPUS = os.cpu_count() or 1


def busy_seconds() -> float:
    """CPU seconds of everything since boot, stolen time included."""
    try:
        with open("/proc/stat") as file:
            user, nice, system, _idle, _wait, irq, softirq, steal = map(int, file.readline().split()[1:9])
    except (OSError, ValueError):
        return 0.0
    return (user + nice + system + irq + softirq + steal) / TICK


def seconds_of(pids) -> float:
    """CPU seconds of this process, its ended children, and the living ones given."""
    times = os.times()
    total = times.user + times.system + times.children_user + times.children_system
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat") as file:
                fields = file.read().rsplit(")", 1)[1].split()
            total += (int(fields[11]) + int(fields[12])) / TICK
        except (OSError, ValueError, IndexError):
            pass
    return total


class Watch:
    """others(): the share of all CPUs, 0 to 1, that went to processes that are not ours since the start."""

    def __init__(self, pids=()):
        self.pids = pids
        self.busy, self.own, self.time = busy_seconds(), seconds_of(pids), time.monotonic()

    def others(self) -> float:
        foreign = (busy_seconds() - self.busy) - (seconds_of(self.pids) - self.own)
        return max(0.0, foreign / CPUS / max(time.monotonic() - self.time, 1e-3))


def wait_for_quiet(limit: float, share: float) -> None:
    """Until others took less than the share for 3 seconds, or the limit is over."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        watch = Watch()
        time.sleep(3)
        if watch.others() < share:
            return
