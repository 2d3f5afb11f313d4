// The stage of the scripted box: who is known, whose hand is up, who is called up, on stage, what is said. It follows
// the product's HTTP (src/api), in as few rules as the pages can tell apart; tests also move it by hand.
import { problem } from "./box.mjs";

/** A link's token: the pages look at its claims, and only this double believes them. */
export const token = (claims) => `a.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.c`;

export class Play {
  constructor(room) {
    this.room = room;
    this.version = 1;
    this.live = true;
    this.locked = false;
    this.layout = "auto";
    this.pinned = null;
    this.speaker = null;
    /** Everybody known: id -> { id, name, role, state, muted, media: Set } */
    this.people = new Map();
    this.subs = new Map();
    this.chat = [];
    this.slow = 0;
    this.open = true;
    this.guests = true;
    /** What was asked, as "METHOD path": tests wait for these. */
    this.calls = [];
    /** Heights that pages told: { person, media, height }, newest last. */
    this.views = [];
    this.ended = false;
    /** Declines everything that would change something, with these words. */
    this.refuse = null;
  }

  /** Somebody of the script's own, on stage and sending. */
  enter(id, name, { role = "speaker", media = ["camera"] } = {}) {
    this.people.set(id, { id, name, role, state: "stage", muted: false, since: Date.now(), media: new Set(media) });
    this.version++;
  }
  raise(id, name) {
    this.people.set(id, { id, name, role: "viewer", state: "hand", muted: false, since: Date.now(), media: new Set() });
    this.version++;
  }
  invite(id) {
    this.people.get(id).state = "invited";
    this.version++;
  }
  change(id, change) {
    Object.assign(this.people.get(id), change);
    this.version++;
  }
  leave(id) {
    const person = this.people.get(id);
    person.state = "audience";
    person.media.clear();
    this.version++;
  }
  finish() {
    this.live = false;
    for (const id of this.people.keys()) this.leave(id);
  }
  write(name, text, role = "viewer", id = `by-${name}`) {
    this.chat.push({ seq: this.chat.length + 1, at_ms: Date.now(), class_ms: 1000, id, name, role, text });
    this.version++;
    return this.chat.length;
  }
  /** Messages and deletions are changes, numbered in one row. */
  delete(seq) {
    this.chat[seq - 1].deleted = true;
    this.chat.push({ seq: this.chat.length + 1, deletes: seq });
    this.version++;
  }
  page(after) {
    const changes = after === null ? this.chat.slice(-200) : this.chat.slice(after, after + 200);
    const messages = changes.flatMap((change) => {
      if (change.deletes) return change.deletes <= (after ?? 0) ? [{ seq: change.deletes, deleted: true }] : [];
      return change.deleted ? [] : [change];
    });
    const last = after === null ? this.chat.length : Math.min(this.chat.length, after + 200);
    return { last, more: last < this.chat.length, messages };
  }
  with(state) {
    return [...this.people.values()].filter((person) => person.state === state).sort((a, b) => a.since - b.since);
  }
  /** The one whose hand is up: guests have ids that only the double knows. */
  get raised() {
    return this.with("hand")[0]?.id;
  }

  describe() {
    return {
      version: this.version, live: this.live, locked: this.locked, layout: this.layout, pinned: this.pinned, speaker: this.speaker,
      people: [...this.people.values()].filter((p) => p.media.size > 0).map((p) => ({ id: p.id, name: p.name, role: p.role === "teacher" ? "teacher" : "speaker", camera: p.media.has("camera"), screen: p.media.has("screen"), muted: p.muted })),
      invited: this.with("invited").map((p) => p.id),
      hands: this.with("hand").length + this.with("invited").length,
      chat: { last: this.chat.length, slow_s: this.slow, open: this.open },
    };
  }

  /** Who holds the token of these headers; null where nobody does. */
  who(headers) {
    const text = /^Bearer (.*)$/.exec(headers.authorization ?? "")?.[1];
    if (!text) return null;
    let claims;
    try {
      claims = JSON.parse(Buffer.from(text.split(".")[1], "base64url").toString());
    } catch {
      return null;
    }
    if (!claims.sub || (claims.room && claims.room !== this.room)) return null;
    const id = this.subs.get(claims.sub) ?? `id-${claims.sub}`;
    this.subs.set(claims.sub, id);
    if (!this.people.has(id)) this.people.set(id, { id, name: claims.name ?? "", role: claims.role ?? "viewer", state: "audience", muted: false, since: Date.now(), media: new Set() });
    return this.people.get(id);
  }
  mayPublish(person) {
    return person !== null && (["teacher", "admin", "speaker"].includes(person.role) || person.state === "stage");
  }

  /** `[status, value or problem]` of a request below /api/v1/rooms/{room}/. */
  answer(method, path, query, headers, body) {
    this.calls.push(`${method} ${path}`);
    const me = this.who(headers);
    const teacher = me !== null && ["teacher", "admin"].includes(me.role);
    const no = (status, what) => [status, JSON.parse(problem(status, "x", what))];
    const [what, id, verb] = path.split("/").map(decodeURIComponent);
    const asked = `${method} ${what}`;
    const person = id === undefined ? null : this.people.get(id);
    const ofTeacher = ["PUT stage", "GET hands", "POST end", "DELETE chat", "PUT chat"];
    if ((ofTeacher.includes(asked) || path === "invitations") && !teacher) return no(403, "that is the teacher's");
    if (asked === "GET stage") return [200, this.describe()];
    if (asked === "GET chat") return [200, this.page(query.has("after") ? Number(query.get("after")) : null)];
    if (asked === "GET me") return me ? [200, { id: me.id, name: me.name, role: me.role, state: me.state, muted: me.muted }] : no(401, "no token");
    if (asked === "GET hands") return [200, { hands: [...this.with("hand"), ...this.with("invited")].map((p) => ({ id: p.id, name: p.name, since_ms: p.since, invited: p.state === "invited" })) }];
    if (this.refuse) return no(409, this.refuse);
    this.version++;
    if (asked === "PUT stage") {
      Object.assign(this, body);
      return [200, this.describe()];
    }
    if (asked === "POST hands") {
      if (this.locked) return no(409, "the stage is locked");
      const [someone, guest] = me ? [me, undefined] : this.guest(body.name);
      someone.name ||= body.name ?? "";
      someone.state = "hand";
      someone.since = Date.now();
      return [201, { id: someone.id, ...(guest ? { token: guest } : {}) }];
    }
    if (asked === "POST invitations" && !verb) {
      this.people.get(body.id).state = "invited";
      return [201, { id: body.id }];
    }
    if (asked === "POST end") {
      this.ended = true;
      this.finish();
      return [202, {}];
    }
    if (asked === "POST chat") {
      if (!this.open && !teacher) return no(409, "the chat is closed");
      const [someone, guest] = me ? [me, undefined] : this.guest(body.name);
      someone.name ||= body.name ?? "";
      if (this.slow && !teacher && Date.now() - (someone.wrote ?? 0) < this.slow * 1000) return no(429, "slow mode");
      someone.wrote = Date.now();
      return [201, { seq: this.write(someone.name, body.text, someone.role, someone.id), ...(guest ? { token: guest } : {}) }];
    }
    if (asked === "PUT chat") {
      this.slow = body.slow_s ?? this.slow;
      this.open = body.open ?? this.open;
      return [200, {}];
    }
    if (asked === "DELETE chat") {
      this.delete(Number(id));
      return [204];
    }
    if (!person) return no(404, "nobody like that");
    if (!teacher && me !== person) return no(403, "that is somebody else");
    if (verb === "accept") {
      if (person.state !== "invited") return no(410, "the invitation is gone");
      person.state = "stage";
      return [200, { id }];
    }
    if (asked === "PUT people") {
      // What the teacher closed, only the teacher opens.
      if (!teacher && person.closed && !body.muted) return no(403, "the teacher has muted this microphone");
      person.muted = body.muted;
      if (teacher) person.closed = body.muted;
      return [200, {}];
    }
    if (["DELETE hands", "DELETE invitations", "DELETE people"].includes(asked)) {
      this.leave(id);
      return [204];
    }
    return no(404, "no such thing");
  }

  guest(name) {
    const sub = `guest-${this.subs.size + 1}`;
    const made = token({ sub, role: "viewer", room: this.room, name });
    return [this.who({ authorization: `Bearer ${made}` }), made];
  }
}
