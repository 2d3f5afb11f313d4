"""Speaker to speaker through the box on loopback: from one camera to the other's decoded picture, by the
clock burnt into it.

    glass.py --program target/release/proscenium [--seconds 30] [--json]

Run in a network namespace of its own (script/bench does that).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
import forward  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--program", default="target/release/proscenium")
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    args.program, args.sfu, args.more = os.path.abspath(args.program), "", ""
    forward.network()
    with tempfile.TemporaryDirectory() as folder:
        server, how = forward.start_ours(args, folder)
        try:
            ran = subprocess.run([args.program, "load", "glass", *how, "--seconds", str(args.seconds), "--json"],
                                 stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
            server.check("proscenium")
        finally:
            server.end()
    if ran.returncode:
        sys.exit(ran.stderr.strip())
    if args.json:
        print(ran.stdout.strip())
        return
    report = json.loads(ran.stdout)
    delay = report["glass_to_glass_ms"]
    print(f"glass to glass  p50 {delay['p50']:.0f} ms  p99 {delay['p99']:.0f} ms  max {delay['max']:.0f} ms   (aim: 150 and 250)")
    print(f"pictures        {report['pictures']} read, {report['missing']} never seen, {report['skipped']} not captured")


if __name__ == "__main__":
    main()
