#!/usr/bin/python3 -I
"""supervisord as an instance's PID 1, with five differences from the stock one.

- A program that fails too often within a window ends the container with exit code
  70, so that the engine's restart policy acts. The stock rule counts only programs
  that fail within `startsecs`; a slow machine needs longer than that to fail.
- The wait before a further try stops growing at two seconds.
- The programs' output goes to stdout, each line after its program's name.
- The programs are spawned at once; the stock loop polls for a second first.
- A signal ends the poll; otherwise `docker stop` and restarts wait for its end.

Written against supervisor 4.2, the version in Debian bookworm.
"""
import collections
import os
import signal
import sys
import time

from supervisor import events, loggers
from supervisor.medusa import asyncore_25 as asyncore
from supervisor.options import ServerOptions
from supervisor.states import SupervisorStates
from supervisor.supervisord import Supervisor

CONFIG = "/etc/mcp/supervisord.conf"
EXIT_GAVE_UP = 70  # EX_SOFTWARE
FAILURES_ALLOWED = 15
# A program that needs up to 18 seconds to fail is still given up.
FAILURES_WINDOW_SECS = 300
LONGEST_BACKOFF_SECS = 2


class Relay:
    """Writes the programs' lines to stdout, each after its program's name."""

    LINE_LIMIT = 16384

    def __init__(self):
        self.unfinished = {}

    def on_output(self, event):
        name = event.process.config.name
        *lines, rest = (self.unfinished.get(name, b"") + event.data).split(b"\n")
        if len(rest) > self.LINE_LIMIT:
            lines.append(rest)
            rest = b""
        self.unfinished[name] = rest
        self.write(name, lines)

    def on_exit(self, event):
        name = event.process.config.name
        rest = self.unfinished.pop(name, b"")
        self.write(name, [rest] if rest else [])

    @staticmethod
    def write(name, lines):
        prefix = name.encode() + b" | "
        write_out(b"".join(prefix + line + b"\n" for line in lines))


def write_out(data):
    while data:
        data = data[os.write(1, data):]


def shorten_backoff(event):
    event.process.delay = min(event.process.delay, time.time() + LONGEST_BACKOFF_SECS)


class Failures:
    """The times at which each program failed, within the window."""

    def __init__(self):
        self.times = collections.defaultdict(collections.deque)

    def too_many(self, name, now):
        """Counts one failure; true when the program has failed too often."""
        times = self.times[name]
        times.append(now)
        while times[0] <= now - FAILURES_WINDOW_SECS:
            times.popleft()
        return len(times) > FAILURES_ALLOWED


class Wakeup:
    """Makes arriving signals readable, in the form of a dispatcher of the main loop."""

    def __init__(self, on_signal):
        self.on_signal = on_signal
        self.fd, signals_in = os.pipe()
        os.set_blocking(self.fd, False)
        os.set_blocking(signals_in, False)
        signal.set_wakeup_fd(signals_in, warn_on_full_buffer=False)

    def readable(self):
        return True

    def writable(self):
        return False

    def handle_read_event(self):
        os.read(self.fd, 4096)
        self.on_signal()

    def handle_error(self):
        pass  # nothing was pending


class Options(ServerOptions):
    def make_logger(self):
        self.logger = loggers.getLogger(self.loglevel)
        loggers.handle_stdout(self.logger, "supervisord | %(message)s\n")
        for message in self.parse_criticals + self.parse_warnings:
            self.logger.warn(message)

    def make_http_servers(self, supervisord):
        # Silences one line about the control socket's missing password: its mode
        # admits its owner alone.
        level, self.logger.level = self.logger.level, sys.maxsize
        try:
            return super().make_http_servers(supervisord)
        finally:
            self.logger.level = level


class Instance(Supervisor):
    exit_status = 0

    def runforever(self):
        relay = Relay()
        events.subscribe(events.ProcessLogStdoutEvent, relay.on_output)
        # Backoff: it ended within `startsecs`. Exited: it ended later. Both are failures.
        self.failures = Failures()
        for failed in (events.ProcessStateExitedEvent, events.ProcessStateBackoffEvent):
            events.subscribe(failed, relay.on_exit)
            events.subscribe(failed, self.on_failure)
        events.subscribe(events.ProcessStateBackoffEvent, shorten_backoff)
        # Reaping first lets the same turn of the loop start the dead one again.
        wakeup = Wakeup(self.reap)
        self.options.get_socket_map()[wakeup.fd] = wakeup
        for group in sorted(self.process_groups.values()):
            group.transition()
        super().runforever()

    def on_failure(self, event):
        if self.options.mood < SupervisorStates.RUNNING:
            return  # stopping: programs end
        name = event.process.config.name
        if not self.failures.too_many(name, time.monotonic()):
            return
        write_out(f"supervisord | {name} keeps failing: the instance ends\n".encode())
        self.exit_status = EXIT_GAVE_UP
        self.options.mood = SupervisorStates.SHUTDOWN


def main():
    options = Options()
    options.realize(["-c", CONFIG])
    options.first, options.test = True, False
    instance = Instance(options)
    try:
        instance.main()
    except asyncore.ExitNow:
        pass
    options.close_httpservers()
    return instance.exit_status


if __name__ == "__main__":
    sys.exit(main())
