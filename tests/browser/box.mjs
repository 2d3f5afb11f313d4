// A scripted box: a test double that speaks the product's HTTP (pages, rooms, the stage, LL-HLS, WHIP, WHEP), and
// does on command what a real one does on a bad day. Against it the pages' behaviour is tested, not the media: see
// pages.test.mjs; live.test.mjs has the same pages against a real box.
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { join } from "node:path";
import { Play } from "./play.mjs";
import { media, moved, PART, PARTS, RUNGS, SEGMENT, LOOP } from "./media.mjs";

const top = join(import.meta.dirname, "../..");
const TYPES = { html: "text/html; charset=utf-8", js: "text/javascript; charset=utf-8", css: "text/css; charset=utf-8", svg: "image/svg+xml" };
/** Parts from the loop's start, in the order they come. */
const WINDOW = 6 * PARTS;

/** The policies that the product sends, from its source: the pages are tested under them. */
async function policies() {
  const source = await readFile(join(top, "src/api/pages.rs"), "utf8");
  const policy = (name) => {
    const text = new RegExp(`const ${name}: &str =\\s*"([^]*?)";`).exec(source)?.[1];
    if (!text) throw new Error(`src/api/pages.rs has no ${name}`);
    return text.replace(/\\\n\s*/g, "");
  };
  // What the pages may ask the browser for: a camera that the policy forbids would be missed only in the field.
  const permissions = (page) => {
    const text = new RegExp(`Page::${page} => (?:\\{\\s*)?"([^"]*)"`).exec(source)?.[1];
    if (!text) throw new Error(`src/api/pages.rs has no permissions for ${page}`);
    return text;
  };
  return {
    strict: policy("POLICY"),
    player: policy("PLAYER_POLICY"),
    permissions: { "watch.html": permissions("Watch"), "teach.html": permissions("Teach"), "index.html": permissions("Home") },
  };
}

/** The class that runs in a room. */
class Class {
  constructor(made) {
    this.session = randomBytes(6).toString("hex");
    // As if it had run for a while: the window is full, so players begin in the midst of it.
    this.epoch = Date.now() - WINDOW * PART * 1000 * 2;
    this.made = made;
    this.over = null;
    this.gone = new Set();
    this.frozenAt = null;
  }
  /** Parts published by now. */
  get parts() {
    const now = this.over ?? this.frozenAt ?? Date.now();
    return Math.floor((now - this.epoch) / 1000 / PART);
  }
  part(rendition, index) {
    const { fragments, timescale } = this.made[rendition];
    const inLoop = LOOP / PART;
    return moved(fragments[index % inLoop], Math.floor(index / inLoop) * LOOP * timescale);
  }
  name(index) {
    return `${Math.floor(index / PARTS)}.${index % PARTS}.m4s`;
  }
  playlist(rendition) {
    const end = this.parts;
    const first = Math.max(0, Math.floor((end - WINDOW) / PARTS));
    const lines = [
      "#EXTM3U", "#EXT-X-VERSION:9", `#EXT-X-TARGETDURATION:${SEGMENT}`,
      `#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=${(3.1 * PART).toFixed(3)}`,
      `#EXT-X-PART-INF:PART-TARGET=${(PART + 0.001).toFixed(4)}`,
      `#EXT-X-MEDIA-SEQUENCE:${first}`, `#EXT-X-MAP:URI="init.mp4"`,
    ];
    const gap = this.gone.has(rendition);
    for (let segment = first; segment * PARTS < end; segment++) {
      const start = segment * PARTS;
      lines.push(`#EXT-X-PROGRAM-DATE-TIME:${new Date(this.epoch + start * PART * 1000).toISOString()}`);
      if (gap) lines.push("#EXT-X-GAP");
      for (let index = start; index < Math.min(end, start + PARTS); index++) {
        const independent = index % 6 === 0 || rendition === "sound" ? ",INDEPENDENT=YES" : "";
        lines.push(`#EXT-X-PART:DURATION=${PART.toFixed(5)},URI="${this.name(index)}"${independent}${gap ? ",GAP=YES" : ""}`);
      }
      if (start + PARTS <= end) lines.push(`#EXTINF:${SEGMENT.toFixed(5)},`, `${segment}.m4s`);
    }
    if (this.over) lines.push("#EXT-X-ENDLIST");
    else lines.push(`#EXT-X-PRELOAD-HINT:TYPE=PART,URI="${this.name(end)}"`);
    return `${lines.join("\n")}\n`;
  }
  index() {
    const lines = ["#EXTM3U", "#EXT-X-VERSION:9", "#EXT-X-INDEPENDENT-SEGMENTS",
      `#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="sound",NAME="sound",LANGUAGE="en",DEFAULT=YES,AUTOSELECT=YES,CHANNELS="2",URI="${this.session}/sound/live.m3u8"`];
    for (const rung of RUNGS) {
      const { bitrate } = rung;
      lines.push(`#EXT-X-STREAM-INF:BANDWIDTH=${bitrate + 128_000},AVERAGE-BANDWIDTH=${bitrate + 96_000},CODECS="${rung.codecs},mp4a.40.2",RESOLUTION=${rung.width}x${rung.height},FRAME-RATE=30.000,VIDEO-RANGE=SDR,AUDIO="sound"`);
      lines.push(`${this.session}/${rung.name}/live.m3u8`);
    }
    return `${lines.join("\n")}\n`;
  }
}

export class Box {
  static async start({ dist = process.env.PROSCENIUM_WEB_DIST ?? join(top, "src/web/dist"), port = 0 } = {}) {
    const box = new Box();
    box.dist = dist;
    box.policies = await policies();
    box.made = await media();
    await box.listen(port);
    return box;
  }

  rooms = new Map();
  /** How `POST /whip/` answers: a function (request, body) => { status, headers, body }. */
  whip = () => ({ status: 503, body: problem(503, "no-room-for-more", "This scripted box takes no publisher.") });
  requests = [];
  down = false;
  /** Who answers offers (peer.mjs), where a test wants media on the stage. */
  peer = null;
  /** WHIP and WHEP sessions, by the last part of their address. */
  sessions = new Map();

  async listen(port) {
    this.server = createServer((request, response) => {
      this.answer(request, response).catch((error) => {
        if (!response.headersSent) response.writeHead(500);
        response.end(String(error));
      });
    });
    this.server.listen(port, "127.0.0.1");
    await once(this.server, "listening");
    this.port = this.server.address().port;
    this.url = `http://127.0.0.1:${this.port}`;
  }

  room(name, title = name) {
    const room = { room: name, title, class: null, state: "waiting", since: null };
    this.rooms.set(name, room);
    return room;
  }
  begin(name) {
    const room = this.rooms.get(name) ?? this.room(name);
    room.play = new Play(name);
    room.class = new Class(this.made);
    room.state = "live";
    room.since = Date.now();
    return room.class;
  }
  finish(name) {
    const room = this.rooms.get(name);
    room.class.over = Date.now();
    room.state = "ended";
    room.play?.finish();
  }

  /** Stops answering: connections are cut, new ones refused. */
  async stop() {
    this.server.closeAllConnections();
    await new Promise((done) => this.server.close(done));
  }

  describe(room) {
    const renditions = room.class
      ? RUNGS.map((r) => ({ name: r.name, codecs: r.codecs, width: r.width, height: r.height, bitrate: r.bitrate, dropped: room.class.gone.has(r.name) ? "too slow" : null }))
      : [];
    return { room: room.room, title: room.title, state: room.state, viewers: 0, session: room.class?.session ?? null, since_ms: room.since, publisher: room.state === "live", renditions };
  }

  async answer(request, response) {
    const url = new URL(request.url, this.url);
    this.requests.push(`${request.method} ${url.pathname}`);
    if (this.down) return request.socket.destroy();
    const path = url.pathname;
    const send = (status, type, body, headers = {}) => {
      response.writeHead(status, { "content-type": type, "x-content-type-options": "nosniff", ...headers });
      response.end(request.method === "HEAD" ? undefined : body);
    };
    const json = (value, status = 200) => send(status, "application/json", JSON.stringify(value), { "cache-control": "no-store" });
    let match;
    if (path === "/api/v1/rooms") return json({ rooms: [...this.rooms.values()].map((r) => this.describe(r)) });
    if ((match = /^\/api\/v1\/rooms\/([^/]+)$/.exec(path))) {
      const room = this.rooms.get(match[1]);
      return room ? json(this.describe(room)) : send(404, "application/problem+json", problem(404, "unknown-room", "no such room"));
    }
    let body = "";
    for await (const chunk of request) body += chunk;
    if ((match = /^\/api\/v1\/rooms\/([^/]+)\/(.+)$/.exec(path))) {
      const play = this.rooms.get(match[1])?.play;
      if (!play) return send(404, "application/problem+json", problem(404, "unknown-room", "no class runs here"));
      const [status, value] = play.answer(request.method, match[2], url.searchParams, request.headers, body ? JSON.parse(body) : {});
      // As a room's real stage: kept by caches for a second.
      const cache = request.method === "GET" && /^(stage|chat)$/.test(match[2]) ? "public, max-age=1" : "no-store";
      return send(status, status >= 400 ? "application/problem+json" : "application/json", value === undefined ? "" : JSON.stringify(value), { "cache-control": cache });
    }
    if ((match = /^\/(whip|whep)\/([^/]+)(?:\/(.+))?$/.exec(path)) && this.peer && this.rooms.get(match[2])?.play) {
      return this.signal(this.rooms.get(match[2]).play, match, request, body, url, send);
    }
    if (path.startsWith("/whip/")) {
      const { status, headers = {}, body: out = "" } = this.whip(request, body);
      return send(status, headers["content-type"] ?? "application/problem+json", out, headers);
    }
    if ((match = /^\/hls\/([^/]+)\/(.+)$/.exec(path))) return this.hls(this.rooms.get(match[1])?.class, match[2], url.searchParams, send);
    const page = path === "/" ? "index.html" : /^\/(watch|teach)\/[^/]+$/.exec(path)?.[1]?.concat(".html");
    const file = page ?? (path.startsWith("/assets/") ? path.slice(1) : null);
    const bytes = file && !file.includes("..") ? await readFile(join(this.dist, file)).catch(() => null) : null;
    if (!bytes) return send(404, "text/plain", "nothing here\n");
    const policy = page === "watch.html" ? this.policies.player : this.policies.strict;
    const headers = page ? { "content-security-policy": policy, "permissions-policy": this.policies.permissions[page] } : {};
    send(200, TYPES[file.split(".").pop()] ?? "application/octet-stream", bytes, headers);
  }

  /** Publishing and subscribing, with real media behind it. */
  async signal(play, [, protocol, room, rest], request, body, url, send) {
    const no = (status, what) => send(status, "application/problem+json", problem(status, "x", what));
    const media = url.searchParams.get("media") ?? "camera";
    const me = play.who(request.headers);
    play.calls.push(`${request.method} ${protocol}${rest ? `/${rest}` : ""}`);
    if (!play.mayPublish(me)) return no(403, "not on stage");
    const cut = rest?.split("/") ?? [];
    if (request.method === "POST") {
      const person = protocol === "whep" ? play.people.get(cut[0]) : me;
      if (protocol === "whep" && !person?.media.has(media)) return no(404, "not on stage");
      const { id, sdp } = protocol === "whep" ? await this.peer.send(body, `${person.name}/${media}`) : await this.peer.receive(body);
      this.sessions.set(id, { id, protocol, person: person.id, media, offer: body, open: true });
      if (protocol === "whip") {
        person.state = "stage";
        person.media.add(media);
        play.version++;
      }
      return send(201, "application/sdp", sdp, { location: `/${protocol}/${room}/${protocol === "whep" ? `${cut[0]}/` : ""}${id}` });
    }
    const view = cut.at(-1) === "view";
    const session = this.sessions.get(cut.at(view ? -2 : -1));
    if (!session) return no(404, "no such session");
    if (view) {
      play.views.push({ person: session.person, media: session.media, ...JSON.parse(body) });
      return send(204, "text/plain", "");
    }
    session.open = false;
    await this.peer.hangUp(session.id);
    if (protocol === "whip") {
      me.media.delete(session.media);
      play.version++;
    }
    send(200, "text/plain", "");
  }

  async hls(live, path, query, send) {
    const cut = path.split("/");
    if (!live) return send(404, "text/plain", "no class\n");
    if (path === "index.m3u8") return send(200, "application/vnd.apple.mpegurl", live.index());
    const [session, rendition, file] = cut;
    const made = session === live.session ? live.made[rendition] : undefined;
    if (!made) return send(404, "text/plain", "no such session or rendition\n");
    if (file === "init.mp4") return send(200, "video/mp4", made.init);
    if (file === "live.m3u8") {
      const msn = Number(query.get("_HLS_msn") ?? -1);
      const part = Number(query.get("_HLS_part") ?? PARTS - 1);
      const until = Date.now() + 3 * SEGMENT * 1000;
      while (!live.over && live.parts <= msn * PARTS + part) {
        if (Date.now() > until) return send(503, "text/plain", "nothing new\n");
        await new Promise((done) => setTimeout(done, 10));
      }
      return send(200, "application/vnd.apple.mpegurl", live.playlist(rendition), { "cache-control": "no-store" });
    }
    if (live.gone.has(rendition)) return send(404, "text/plain", "dropped\n");
    const name = /^(\d+)(?:\.(\d+))?\.m4s$/.exec(file);
    if (!name) return send(404, "text/plain", "?\n");
    const first = Number(name[1]) * PARTS + Number(name[2] ?? 0);
    const count = name[2] === undefined ? PARTS : 1;
    while (!live.over && live.parts < first + count) await new Promise((done) => setTimeout(done, 10));
    send(200, "video/mp4", Buffer.concat(Array.from({ length: count }, (_, i) => live.part(rendition, first + i))));
  }
}

/** RFC 9457. */
export function problem(status, kind, detail, extra = {}) {
  return JSON.stringify({ type: `/problems/${kind}`, title: detail, status, detail, ...extra });
}

if (process.argv[1] === import.meta.filename) {
  // By hand: node box.mjs [PORT]; room "live" runs, room "waiting" does not.
  const box = await Box.start({ port: Number(process.argv[2] ?? 8090) });
  box.begin("live");
  box.rooms.get("live").title = "Physics: waves and light";
  box.room("waiting", "Geography 8b");
  console.log(`${box.url}/`);
}
