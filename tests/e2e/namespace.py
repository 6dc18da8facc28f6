"""Another machine, as far as the network goes: one whose packets can be dropped."""

import ctypes
import os
import random
import subprocess
import threading

from helpers import tool

CLONE_NEWNET = 0x40000000


class Machine:
    """A network namespace with one wire to this one. Needs root.

    Nothing outside its own pair of interfaces is touched, and both go with it.
    """

    number = 0

    def __init__(self):
        Machine.number += 1
        self.name = f"redcar-{os.getpid()}-{Machine.number}"
        self.near, self.far = (
            f"rn{os.getpid()}-{Machine.number}",
            f"rf{os.getpid()}-{Machine.number}",
        )
        # TEST-NET-2 and its like are nobody's (RFC 5737); four addresses to each machine.
        block = 4 * random.randrange(64)
        self.here, self.address = (f"198.51.100.{block + n}" for n in (1, 2))
        run("ip", "netns", "add", self.name)
        try:
            run(
                "ip",
                "link",
                "add",
                self.near,
                "type",
                "veth",
                "peer",
                "name",
                self.far,
                "netns",
                self.name,
            )
            run("ip", "address", "add", f"{self.here}/30", "dev", self.near)
            run("ip", "link", "set", self.near, "up")
            for words in (
                ("address", "add", f"{self.address}/30", "dev", self.far),
                ("link", "set", self.far, "up"),
            ):
                run("ip", "-netns", self.name, *words)
        except BaseException:
            self.close()
            raise

    def second_address(self):
        """Another address of this machine."""
        address = self.address.replace("198.51.100", "203.0.113")
        run("ip", "-netns", self.name, "address", "add", f"{address}/32", "dev", self.far)
        run("ip", "route", "add", f"{address}/32", "via", self.address, "dev", self.near)
        return address

    def run(self, function):
        """Runs a function whose sockets are this machine's; returns what it returns."""
        results = []

        def inside():
            # Of this thread only. Sockets stay where they were made.
            with open(f"/run/netns/{self.name}") as namespace:
                libc = ctypes.CDLL(None, use_errno=True)
                if libc.setns(namespace.fileno(), CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
            results.append(function())

        thread = threading.Thread(target=inside)
        thread.start()
        thread.join()
        return results[0]

    def drop(self, peer_ports=(), address=None):
        """From now on drops packets, both ways and without a word: of the connections from these
        ports, as a firewall does that has forgotten them; or all to and from an address."""
        coming, going = [], []
        if peer_ports:
            ports = ", ".join(map(str, peer_ports))
            coming, going = f"tcp sport {{ {ports} }}", f"tcp dport {{ {ports} }}"
        if address:
            coming, going = f"ip daddr {address}", f"ip saddr {address}"
        self.nft(
            f"""table inet silence {{
              chain coming {{ type filter hook input priority 0; {coming} drop; }}
              chain going {{ type filter hook output priority 0; {going} drop; }}
            }}"""
        )

    def appear(self):
        """From now on drops nothing any more."""
        self.nft("flush ruleset")

    def nft(self, rules):
        run("ip", "netns", "exec", self.name, tool("nft"), "-f", "-", text=rules)

    def close(self):
        # The namespace itself lives on until its last connection is forgotten; its wire must not.
        if os.path.exists(f"/sys/class/net/{self.near}"):
            run("ip", "link", "delete", self.near)
        run("ip", "netns", "delete", self.name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def run(program, *words, text=None):
    done = subprocess.run(
        [tool(program), *words], input=text, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{program} {' '.join(map(str, words))}: {done.stderr}"
