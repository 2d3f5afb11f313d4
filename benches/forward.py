"""What forwarding a packet costs: Proscenium and Debian's Janus (videoroom) under the same load
generator, in turn, A B A B ...; packets forwarded a CPU-second of the server's process.

    forward.py --program target/release/proscenium --janus target/janus
               [--subscribers 50,200,800] [--seconds 10] [--rounds 3] [--rate 2.5M] [--only ours|janus] [--json]

Run in a network namespace of its own (script/bench does that): it brings up interfaces and routes
there. One publisher, N subscribers, each a WebRTC connection with an IP address of its own.
"""

import argparse
import json
import os
import secrets
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

NETWORK = "10.64.0.0/16"
HTTP, MEDIA, JANUS = 18080, 18189, 18088

JANUS_FILES = {
    "janus.jcfg": """
general: {{
    configs_folder = "{folder}"
    plugins_folder = "/usr/lib/{arch}/janus/plugins"
    transports_folder = "/usr/lib/{arch}/janus/transports"
    debug_level = 2
    {loops}
}}
media: {{ rtp_port_range = "20000-60000" }}
plugins: {{ disable = "{plugins}" }}
transports: {{ disable = "{transports}" }}
""",
    "janus.transport.http.jcfg": """
general: {{ json = "compact" base_path = "/janus" http = true port = {port} ip = "127.0.0.1" https = false }}
admin: {{ admin_http = false }}
""",
    "janus.plugin.videoroom.jcfg": "general: {{ }}\n",
}

OURS = """
[http]
listen = "127.0.0.1:{http}"
[sfu]
port = {media}
announce_interfaces = true
{sfu}
[paths]
state = "{state}"
[tokens]
secret_file = "{secret}"
[ladder]
av1 = false
top_height = 180
{more}
[[room]]
name = "load"
"""


def run(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def network():
    """A network of which every address is this machine's, behind an interface that is no loopback:
    libnice leaves loopback out, and pins its sockets to their interface."""
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "add", "stage0", "type", "veth", "peer", "name", "stage1")
    run("ip", "link", "set", "stage0", "up")
    run("ip", "link", "set", "stage1", "up")
    run("ip", "addr", "add", "10.64.255.254/32", "dev", "stage0")
    run("ip", "route", "add", "local", NETWORK, "dev", "stage0")


def answers(url, patience=30):
    deadline = time.monotonic() + patience
    while True:
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                return answer.read()
        except OSError:
            if time.monotonic() > deadline:
                sys.exit(f"{url} did not answer within {patience} s")
            time.sleep(0.1)


class Server:
    """A server process, started and ended by its pid."""

    def __init__(self, command, log, env=None):
        self.log = open(log, "wb")
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, env=env)

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()

    def check(self, what):
        if self.process.poll() is not None:
            self.log.flush()
            with open(self.log.name, errors="replace") as log:
                sys.exit(f"{what} ended by itself: {log.read()[-2000:]}")


def start_janus(args, folder):
    root = os.path.abspath(args.janus)
    arch = next(name for name in os.listdir(f"{root}/usr/lib") if name.endswith("-linux-gnu"))
    inside = "/run/janus-bench"
    os.makedirs(root + inside, exist_ok=True)
    listed = lambda kind: os.listdir(f"{root}/usr/lib/{arch}/janus/{kind}")
    others = lambda kind, keep: ",".join(n for n in listed(kind) if n.endswith(".so") and keep not in n)
    for name, text in JANUS_FILES.items():
        with open(f"{root}{inside}/{name}", "w") as file:
            file.write(text.format(
                folder=inside, arch=arch, port=JANUS, plugins=others("plugins", "videoroom"),
                transports=others("transports", "http"),
                loops=f"event_loops = {args.janus_loops}" if args.janus_loops else ""))
    server = Server(["chroot", root, "/usr/bin/janus", "-F", inside], f"{folder}/janus.log")
    answers(f"http://127.0.0.1:{JANUS}/janus/info")
    server.check("Janus")
    return server, ["--target", "janus", "--url", f"http://127.0.0.1:{JANUS}/janus"]


def start_ours(args, folder):
    secret = f"{folder}/secret"
    with open(secret, "w") as file:
        os.chmod(secret, 0o600)
        file.write(secrets.token_hex(32))
    config = f"{folder}/proscenium.toml"
    with open(config, "w") as file:
        file.write(OURS.format(http=HTTP, media=MEDIA, state=f"{folder}/state", secret=secret, sfu=args.sfu.replace(";", "\n"),
                               more=args.more.replace(";", "\n")))
    server = Server([args.program, "serve", "--config", config], f"{folder}/ours.log")
    answers(f"http://127.0.0.1:{HTTP}/readyz", 90)
    server.check("proscenium")
    return server, ["--url", f"http://127.0.0.1:{HTTP}", "--token-secret", secret]


def measure(start, subscribers, args, folder):
    server, how = start(args, folder)
    try:
        command = [args.program, "load", "stage", *how, "--participants", str(subscribers), "--seconds", str(args.seconds),
                   "--rate", args.rate, "--server-pid", str(server.process.pid), "--spread", NETWORK, "--json"]
        ran = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        server.check(start.__name__)
        if ran.returncode:
            return {"error": ran.stderr.strip()[-500:]}
        return json.loads(ran.stdout)
    finally:
        server.end()


def limit(report):
    """What kept it from forwarding more, as far as the figures tell."""
    offered = report["published_packets"] / report["seconds"] * report["subscriptions"]
    came = report["forwarded_packets_per_second"] / max(offered, 1)
    if (report["loss"]["generator_drops"] or 0) > 0.001 * report["forwarded_packets"]:
        return "the generator (its socket overflowed)"
    if came > 0.99:
        return "the load (all that was sent came)"
    busy = report["generator"]["cpu_seconds"] / report["seconds"]
    return "the generator (its thread was busy)" if busy > 0.9 else "the server"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--program", default="target/release/proscenium")
    parser.add_argument("--janus", default="target/janus")
    parser.add_argument("--janus-loops", type=int, default=0, help="event loops shared by Janus' connections; 0: one each, its default")
    parser.add_argument("--subscribers", default="50,200,800")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rate", default="2.5M")
    parser.add_argument("--only", choices=["ours", "janus"])
    parser.add_argument("--sfu", default="", help="lines for [sfu], ; between them")
    parser.add_argument("--more", default="", help="lines for the configuration, ; between them")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    args.program = os.path.abspath(args.program)
    network()

    kinds = [(name, start) for name, start in [("ours", start_ours), ("janus", start_janus)] if args.only in (None, name)]
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        for count in map(int, args.subscribers.split(",")):
            for number in range(args.rounds):
                for name, start in kinds:
                    report = measure(start, count, args, folder)
                    runs.append({"server": name, "subscribers": count, "round": number, "report": report})
                    if not args.json:
                        print(line(name, count, report), flush=True)
    summary = sum_up(runs)
    if args.json:
        print(json.dumps({"runs": runs, "summary": summary}))
        return
    print()
    for row in summary:
        print(f"{row['subscribers']:>4} subscribers  " + "  ".join(f"{k} {v}" for k, v in row["words"].items()))


def line(name, count, report):
    if "error" in report:
        return f"{count:>4} {name:<6} failed: {report['error']}"
    each = report["forwarded_packets_per_second_per_core"] or 0
    return (f"{count:>4} {name:<6} {report['forwarded_packets_per_second']:>8.0f} packets/s  {each:>8.0f} packets/s/core  "
            f"loss {report['loss']['share'] * 100:.2f} %  delay p50 {report['delay_ms']['p50'] or 0:.1f} p99 {report['delay_ms']['p99'] or 0:.1f} ms  "
            f"{(report['server']['resident_per_subscription'] or 0) / 1e3:.0f} kB each  limited by {limit(report)}")


def sum_up(runs):
    rows = []
    first = None
    for count in sorted({r["subscribers"] for r in runs}):
        each = {}
        for name in ("ours", "janus"):
            good = [r["report"]["forwarded_packets_per_second_per_core"] for r in runs
                    if r["server"] == name and r["subscribers"] == count and "error" not in r["report"]]
            each[name] = [value for value in good if value]
        row = {"subscribers": count, "words": {}}
        for name, values in each.items():
            if values:
                row[f"{name}_packets_per_second_per_core"] = statistics.median(values)
                row["words"][name] = f"{statistics.median(values):.0f} packets/s/core"
        pairs = [a / b for a, b in zip(each["ours"], each["janus"])]
        if pairs:
            row |= {"ratio_median": statistics.median(pairs), "ratio_min": min(pairs), "ratio_max": max(pairs)}
            row["words"]["ratio"] = f"{statistics.median(pairs):.2f} ({min(pairs):.2f} to {max(pairs):.2f})"
        if each["ours"]:
            cost = 1 / statistics.median(each["ours"])
            first = first or cost
            row["cpu_a_packet_us"] = cost * 1e6
            row["cpu_a_packet_to_fewest"] = cost / first
            row["words"]["a packet"] = f"{cost * 1e6:.2f} us CPU, {cost / first:.2f} of that at the fewest"
        rows.append(row)
    return rows


if __name__ == "__main__":
    main()
