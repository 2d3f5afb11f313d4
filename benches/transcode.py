"""Whole-process CPU of the transcoder against ffmpeg: the same class, the same three H.264 rungs and
AAC, in turn, A B A B ...; the ratio is taken pair by pair, so that it holds while the machine's speed
drifts.

    transcode.py --program target/release/proscenium [--rounds 5] [--seconds 30] [--json]
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile

RUNGS = [(1280, 720, 2000), (854, 480, 1000), (640, 360, 600)]
PRESET = "superfast"


def cpu_of(command):
    """User and system seconds of a command and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ran = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if ran.returncode:
        sys.exit(f"{command[0]} failed: {ran.stderr[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def peer(source, out):
    """ffmpeg with the same ladder: one decode, one filter graph, a thread each, fragmented mp4 HLS."""
    splits = "".join(f"[v{i}]" for i in range(len(RUNGS)))
    graph = f"[0:v]split={len(RUNGS)}{splits}"
    command = ["ffmpeg", "-v", "error", "-nostdin", "-y", "-threads", "1", "-i", source]
    maps, rates = [], []
    for i, (width, height, kbps) in enumerate(RUNGS):
        if i:
            graph += f";[v{i}]scale={width}:{height}:flags=bilinear[s{i}]"
        maps += ["-map", f"[s{i}]" if i else "[v0]"]
        rates += [f"-b:v:{i}", f"{kbps}k", f"-maxrate:v:{i}", f"{kbps}k", f"-bufsize:v:{i}", f"{kbps}k"]
    groups = " ".join(f"v:{i},agroup:a" for i in range(len(RUNGS)))
    command += ["-filter_complex_threads", "1", "-filter_complex", graph, *maps, "-map", "0:a"]
    command += ["-c:v", "libx264", "-preset", PRESET, "-tune", "zerolatency", "-threads", "1", "-bf", "0"]
    command += ["-g", "60", "-keyint_min", "60", "-sc_threshold", "0", *rates]
    command += ["-c:a", "aac", "-b:a", "96k", "-ar", "48000", "-f", "hls", "-hls_time", "2"]
    command += ["-hls_segment_type", "fmp4", "-hls_flags", "independent_segments", "-hls_list_size", "0"]
    command += ["-var_stream_map", f"{groups} a:0,agroup:a", "-master_pl_name", "master.m3u8"]
    command += ["-hls_fmp4_init_filename", "init_%v.mp4"]
    return command + ["-hls_segment_filename", f"{out}/%v_%03d.m4s", f"{out}/%v.m3u8"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--program", default="target/release/proscenium")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    program = os.path.abspath(args.program)

    with tempfile.TemporaryDirectory() as folder:
        at = lambda name: os.path.join(folder, name)
        seconds = str(args.seconds)
        cpu_of([program, "teacher", "record", at("class.rtp"), "--seconds", seconds])
        cpu_of([program, "teacher", "streams", at("class.h264"), at("class.ogg"), "--seconds", seconds])
        cpu_of(["ffmpeg", "-v", "error", "-nostdin", "-y", "-r", "30", "-i", at("class.h264"),
                "-i", at("class.ogg"), "-c", "copy", at("class.mkv")])
        ours = [program, "transcode", "--replay", at("class.rtp"), "--out", at("ours")]
        for width, height, kbps in RUNGS:
            ours += ["--rung", f"h264:{width}x{height}:{kbps}kb/s:{PRESET}:1"]
        os.mkdir(at("peer"))
        theirs = peer(at("class.mkv"), at("peer"))

        cpu_of(ours), cpu_of(theirs)  # warm-up
        pairs = [(cpu_of(ours), cpu_of(theirs)) for _ in range(args.rounds)]
    ratios = [a / b for a, b in pairs]
    report = {
        "seconds_of_class": args.seconds,
        "ours_cpu_s_per_s": statistics.median(a for a, _ in pairs) / args.seconds,
        "ffmpeg_cpu_s_per_s": statistics.median(b for _, b in pairs) / args.seconds,
        "ratio_median": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
        "rounds": args.rounds,
    }
    if args.json:
        print(json.dumps(report))
        return
    print(f"{args.rounds} rounds of {args.seconds} s of class: H.264 720/480/360 {PRESET} + AAC")
    print(f"  proscenium  {report['ours_cpu_s_per_s']:.3f} CPU-seconds a second")
    print(f"  ffmpeg      {report['ffmpeg_cpu_s_per_s']:.3f} CPU-seconds a second")
    print(f"  ratio       {report['ratio_median']:.2f}  (min {report['ratio_min']:.2f}, max {report['ratio_max']:.2f})")


if __name__ == "__main__":
    main()
