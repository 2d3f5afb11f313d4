// The media side of the scripted box: a page of its own that answers offers with a real RTCPeerConnection. What is
// published to it is counted; whoever subscribes gets a moving test picture and a tone.

/** Lets two pages of one machine find each other without the names that browsers hide addresses behind. */
export const PEER_ARGUMENTS = ["--disable-features=WebRtcHideLocalIpsWithMdns", "--allow-loopback-in-peer-connection"];

export class Peer {
  static async start(browser) {
    const peer = new Peer();
    peer.page = await (await browser.newContext()).newPage();
    await peer.page.evaluate(() => {
      window.sessions = new Map();
      window.source = (label) => {
        const canvas = Object.assign(document.createElement("canvas"), { width: 320, height: 180 });
        const context = canvas.getContext("2d");
        const hue = [...label].reduce((sum, c) => sum + c.charCodeAt(0) * 37, 0) % 360;
        let step = 0;
        const timer = setInterval(() => {
          context.fillStyle = `hsl(${hue} 35% 32%)`;
          context.fillRect(0, 0, 320, 180);
          context.fillStyle = `hsl(${hue} 40% 62%)`;
          context.beginPath();
          context.arc(160, 78, 34 + Math.sin(step++ / 4), 0, 7);
          context.ellipse(160, 178, 70, 56, 0, 0, 7);
          context.fill();
        }, 100);
        const audio = new AudioContext();
        const tone = audio.createOscillator();
        const out = audio.createMediaStreamDestination();
        tone.connect(out);
        tone.start();
        return { video: canvas.captureStream(10).getVideoTracks()[0], audio: out.stream.getAudioTracks()[0], stop: () => (clearInterval(timer), audio.close()) };
      };
      window.answer = async (sdp, label) => {
        const pc = new RTCPeerConnection();
        const source = label === null ? null : window.source(label);
        await pc.setRemoteDescription({ type: "offer", sdp });
        for (const transceiver of pc.getTransceivers()) {
          if (!source) continue;
          transceiver.direction = "sendonly";
          await transceiver.sender.replaceTrack(source[transceiver.receiver.track.kind]);
        }
        await pc.setLocalDescription();
        if (pc.iceGatheringState !== "complete") {
          await new Promise((done) => pc.addEventListener("icegatheringstatechange", () => pc.iceGatheringState === "complete" && done()));
        }
        const id = `s${window.sessions.size + 1}`;
        window.sessions.set(id, { pc, source });
        return { id, sdp: pc.localDescription.sdp };
      };
      window.hangUp = (id) => {
        const session = window.sessions.get(id);
        session?.source?.stop();
        session?.pc.close();
      };
      window.received = async (id) => {
        const session = window.sessions.get(id);
        const figures = { width: 0, height: 0, frames: 0, sound: 0 };
        for (const one of (await session?.pc.getStats())?.values() ?? []) {
          if (one.type !== "inbound-rtp") continue;
          if (one.kind === "audio") figures.sound = one.packetsReceived ?? 0;
          else Object.assign(figures, { width: one.frameWidth ?? 0, height: one.frameHeight ?? 0, frames: one.framesDecoded ?? 0 });
        }
        return figures;
      };
    });
    return peer;
  }
  /** Takes what `sdp` offers to send. */
  receive(sdp) {
    return this.page.evaluate((sdp) => window.answer(sdp, null), sdp);
  }
  /** Sends to whoever offers to receive. */
  send(sdp, label) {
    return this.page.evaluate(([sdp, label]) => window.answer(sdp, label), [sdp, label]);
  }
  hangUp(id) {
    return this.page.evaluate((id) => window.hangUp(id), id);
  }
  /** What came in on a session: { width, height, frames, sound } (packets). */
  received(id) {
    return this.page.evaluate((id) => window.received(id), id);
  }
}
