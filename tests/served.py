"""A real server in processes of its own, for tests that ask it over sockets."""
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import requests

MLSHIP = str(Path(sys.executable).parent / "mlship")


def lives(process):
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:   # it went while we looked
        return False


def listens(pid):
    try:
        return any(c.status == psutil.CONN_LISTEN for c in psutil.Process(pid).net_connections("tcp"))
    except psutil.NoSuchProcess:
        return False


class Served:
    "A served model in processes of its own"
    def __init__(self, *options):
        self.process = subprocess.Popen([MLSHIP, "serve", *options, "--port", "0"], text=True,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.url = self.process.stdout.readline().strip()
        assert self.url, self.process.communicate()[1]
        self.pids = self.workers()

    def workers(self):
        return {p.pid for p in psutil.Process(self.process.pid).children() if lives(p)}

    def ask(self, *inputs, **headers):
        try:
            r = requests.post(self.url + "/predict", json={"inputs": list(inputs)}, headers=headers, timeout=30)
        except requests.ConnectionError:
            return "closed"
        return r.json()["predictions"] if r.status_code == 200 else r.status_code

    def replaced(self, pid, seconds=20):
        "Wait until a worker is gone and as many as before listen"
        until = time.monotonic() + seconds
        while pid in self.workers() or sum(map(listens, self.workers())) < len(self.pids):
            assert time.monotonic() < until, "the worker was not replaced"
            time.sleep(.05)

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        out, err = self.process.communicate(timeout=40)
        assert self.process.returncode == 0, err
        return err
