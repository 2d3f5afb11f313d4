"""Waits until an HLS output is live, has `proscenium teacher check` measure it, and judges the report.

    check.py PROGRAM INDEX SECONDS

A Python publisher on a busy machine is uneven: it may repeat or miss frames, and it stamps its
sender reports as it likes. What the output itself promises must hold all the same: every frame
there, every timestamp continuous, the same segments in every rendition, every picture whole.
"""

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request

OFFSET_MS = 120


def wait_until_live(index):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(index, timeout=5) as answer:
                if b"#EXT-X-STREAM-INF" in answer.read():
                    return
        except (urllib.error.URLError, OSError):
            pass
        time.sleep(0.2)
    raise SystemExit(f"{index} is not live after 60 s")


def main():
    program, index, seconds = sys.argv[1:]
    wait_until_live(index)
    command = [program, "teacher", "check", index, "--seconds", seconds, "--json"]
    command += ["--offset", str(OFFSET_MS)]
    ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if not ran.stdout:
        raise SystemExit(f"nothing was measured (exit code {ran.returncode})")
    report = json.loads(ran.stdout)

    faults = []
    if not report["video"]:
        faults.append("no video rendition")
    for video in report["video"]:
        def expect(right, what, name=video["name"]):
            if not right:
                faults.append(f"{name}: {what}")

        expect(video["decoded"] == video["packets"] == video["expected"], "frames are not all there")
        expect(video["breaks"] == 0, "timestamps break")
        expect(video["complaints"] == "", f"the decoder complains: {video['complaints']}")
        expect(video["unreadable"] <= video["decoded"] * 0.02, f"{video['unreadable']} pictures are not whole")
        expect(video["repeated"] < video["decoded"] * 0.5, f"{video['repeated']} frames repeat: no motion")
        offsets = (video["offsets"] or {}).get("milliseconds", [])
        expect(offsets, "no beep with a flash")
        expect(all(abs(ms) <= OFFSET_MS for ms in offsets), f"sound is off: {offsets}")
        print(f"  {video['name']}: {video['decoded']} frames, {video['repeated']} repeated, offsets {offsets}")
    if report["sound_breaks"]:
        faults.append(f"{report['sound_breaks']} sound timestamps break")
    faults += [fault for fault in report["faults"] if "segments" in fault]
    for fault in faults:
        print(f"  FAULT {fault}", file=sys.stderr)
    raise SystemExit(1 if faults else 0)


if __name__ == "__main__":
    main()
