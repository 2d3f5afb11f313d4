"""Publishes a file by WHIP (RFC 9725) with aiortc: a WebRTC implementation of another make.

    whip.py ENDPOINT --token T --file CLASS.mkv --codec vp8|h264 --seconds N
"""

import argparse
import asyncio
import sys
from urllib.parse import urljoin

import aiohttp
from aiortc import RTCPeerConnection, RTCRtpSender, RTCSessionDescription
from aiortc.contrib.media import MediaPlayer

MIME = {"vp8": "video/VP8", "h264": "video/H264"}


async def publish(args):
    connection = RTCPeerConnection()
    player = MediaPlayer(args.file, loop=True)
    connection.addTransceiver(player.audio, direction="sendonly")
    video = connection.addTransceiver(player.video, direction="sendonly")
    offered = RTCRtpSender.getCapabilities("video").codecs
    wanted = [codec for codec in offered if codec.mimeType == MIME[args.codec]]
    video.setCodecPreferences(wanted + [codec for codec in offered if codec.mimeType == "video/rtx"])

    connected = asyncio.get_running_loop().create_future()

    @connection.on("connectionstatechange")
    def changed():
        state = connection.connectionState
        print(f"aiortc: {state}", file=sys.stderr, flush=True)
        if state == "connected" and not connected.done():
            connected.set_result(None)
        if state in ("failed", "closed") and not connected.done():
            connected.set_exception(RuntimeError(f"the connection is {state}"))

    await connection.setLocalDescription(await connection.createOffer())
    headers = {"Authorization": f"Bearer {args.token}", "Content-Type": "application/sdp"}
    async with aiohttp.ClientSession() as http:
        offer = connection.localDescription.sdp
        async with http.post(args.endpoint, data=offer, headers=headers) as answer:
            body = await answer.text()
            if answer.status != 201:
                raise SystemExit(f"{args.endpoint} answered {answer.status}: {body}")
            session = urljoin(args.endpoint, answer.headers["Location"])
        await connection.setRemoteDescription(RTCSessionDescription(body, "answer"))
        await asyncio.wait_for(connected, 20)
        print("live", flush=True)
        await asyncio.sleep(args.seconds)
        headers = {"Authorization": f"Bearer {args.token}"}
        async with http.delete(session, headers=headers) as gone:
            if gone.status != 200:
                raise SystemExit(f"DELETE {session} answered {gone.status}")
    await connection.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("endpoint")
    parser.add_argument("--token", required=True)
    parser.add_argument("--file", required=True)
    parser.add_argument("--codec", choices=sorted(MIME), default="vp8")
    parser.add_argument("--seconds", type=float, default=30)
    asyncio.run(publish(parser.parse_args()))


if __name__ == "__main__":
    main()
