//! Offers, ICE fragments, coming and going.

use super::{Core, Output, Peer};
use crate::sfu::ResourceId;
use crate::sfu::connection::{Connection, NewConnection, guarded};
use crate::sfu::publisher::Publisher;
use crate::sfu::sdp::{self, Credentials, Fragment, Purpose};
use crate::sfu::subscriber::Subscriber;
use crate::sfu::words::{
    Event, LeftWhy, PatchError, Patched, Publish, PublishError, Published, Subscribe,
    SubscribeError, Subscribed,
};
use crate::time::{HostTime, RoomName, SourceCodec, SourceId};
use rand::Rng;
use str0m::change::SdpOffer;
use str0m::media::Rid;

impl Core {
    /// Answers an offer to send.
    ///
    /// # Errors
    /// [`PublishError`]; then nothing has changed.
    pub fn publish(&mut self, now: HostTime, publish: &Publish) -> Result<Published, PublishError> {
        self.now = now;
        let Publish { room, person, kind, offer } = publish;
        let (person, kind) = (*person, *kind);
        let key = *self.by_name.get(room).ok_or(PublishError::NotOpen)?;
        let stage = self.rooms.get(&key).ok_or(PublishError::NotOpen)?;
        let before = stage.publishers.get(&(person, kind)).copied();
        if !stage.has(person) && stage.people() >= self.shared.config.max_on_stage {
            return Err(PublishError::StageFull);
        }
        let muted = stage.muted.contains(&person);
        if before.is_none() && self.publishers() >= self.shared.config.max_publishers {
            return Err(PublishError::Full);
        }
        let offer = sdp::clean_offer(offer, Purpose::Publish)?;
        let (rtc, answer, remote) = self.negotiate(now, &offer, None)?;

        if let Some(older) = before {
            self.end(now, older, LeftWhy::Replaced);
        }
        let rids = sdp::simulcast(&offer).iter().map(|rid| Rid::from(rid.as_str())).collect();
        let link = self.connection(now, key, person, (rtc, offer, remote), &answer);
        let (id, resource, etag) = (link.id, link.resource, link.etag.clone());
        if let Some(stage) = self.rooms.get_mut(&key) {
            stage.publishers.insert((person, kind), id);
        }
        self.publishers += 1;
        self.peers.insert(id, Peer::Publisher(Publisher::new(link, kind, muted, rids)));
        let joined = Event::Joined { room: room.clone(), source: id, person, kind };
        self.shared.outputs.push_back(Output::Event(joined));
        self.drain(now, id);
        Ok(Published { answer, resource, etag, source: id })
    }

    /// Answers an offer to receive.
    ///
    /// # Errors
    /// [`SubscribeError`]; then nothing has changed.
    pub fn subscribe(
        &mut self,
        now: HostTime,
        subscribe: &Subscribe,
    ) -> Result<Subscribed, SubscribeError> {
        self.now = now;
        let Subscribe { room, viewer, person, kind, offer } = subscribe;
        let key = *self.by_name.get(room).ok_or(SubscribeError::NotOnStage)?;
        let stage = self.rooms.get(&key).ok_or(SubscribeError::NotOnStage)?;
        let source = *stage.publishers.get(&(*person, *kind)).ok_or(SubscribeError::NotOnStage)?;
        let Some(Peer::Publisher(publisher)) = self.peers.get(&source) else {
            return Err(SubscribeError::NotOnStage);
        };
        let (codec, simulcast) = (publisher.video_codec(), publisher.is_simulcast());
        if self.subscribers() >= self.shared.config.max_subscribers {
            return Err(SubscribeError::Full);
        }
        let offer = sdp::clean_offer(offer, Purpose::Subscribe)?;
        // Without a choice of layers there is nothing to estimate for.
        let estimated = simulcast && sdp::feeds_back(&offer);
        let (rtc, answer, remote) = self.negotiate(now, &offer, Some(estimated))?;
        let link = self.connection(now, key, *viewer, (rtc, offer, remote), &answer);
        let (id, resource, etag) = (link.id, link.resource, link.etag.clone());
        let seed = (self.random.random(), self.random.random());
        let subscriber = Subscriber::new(link, source, estimated, seed, now);
        if let Some(codec) = codec.filter(|codec| !subscriber.takes(*codec)) {
            self.forget(&subscriber.link);
            return Err(SubscribeError::NotAcceptable(cannot_take(codec)));
        }
        self.peers.insert(id, Peer::Subscriber(subscriber));
        if let Some(Peer::Publisher(publisher)) = self.peers.get_mut(&source) {
            publisher.subscribers.push(id);
        }
        self.drain(now, id);
        Ok(Subscribed { answer, resource, etag })
    }

    /// How large a subscriber shows what it receives; says whether there is such a session.
    pub fn view(
        &mut self,
        now: HostTime,
        room: &RoomName,
        resource: ResourceId,
        height: u32,
    ) -> bool {
        self.now = now;
        let Some(id) = self.find(room, resource) else { return false };
        let Some(Peer::Subscriber(subscriber)) = self.peers.get_mut(&id) else { return false };
        subscriber.view(height);
        self.consider(now, id);
        true
    }

    /// Applies an ICE fragment (RFC 9725 §4.3).
    ///
    /// # Errors
    /// [`PatchError`]; then nothing has changed.
    pub fn patch(
        &mut self,
        now: HostTime,
        room: &RoomName,
        resource: ResourceId,
        if_match: Option<&str>,
        fragment: &str,
    ) -> Result<Patched, PatchError> {
        self.now = now;
        let id = self.find(room, resource).ok_or(PatchError::NotFound)?;
        let if_match = if_match.ok_or(PatchError::NoPrecondition)?;
        let peer = self.peers.get(&id).ok_or(PatchError::NotFound)?.link();
        let names_session = if_match.split(',').any(|tag| tag.trim() == peer.etag);
        if if_match.trim() != "*" && !names_session {
            return Err(PatchError::Stale);
        }
        let fragment = Fragment::parse(fragment)?;
        match fragment.credentials {
            Some(new) if new != peer.remote => self.restart(now, id, new),
            // Candidates of the session as it is: an ICE-lite agent has no use for them.
            _ => Ok(Patched::Trickled),
        }
    }

    /// Ends a session; says whether there was one.
    pub fn delete(&mut self, now: HostTime, room: &RoomName, resource: ResourceId) -> bool {
        self.now = now;
        let found = self.find(room, resource);
        found.map(|id| self.end(now, id, LeftWhy::Ended)).is_some()
    }

    fn find(&self, room: &RoomName, resource: ResourceId) -> Option<SourceId> {
        let id = self.by_resource.get(&resource)?;
        let key = self.peers.get(id)?.link().room;
        (self.by_name.get(room) == Some(&key)).then_some(*id)
    }

    fn etag(&mut self) -> String {
        format!("\"{:016x}\"", self.random.random::<u64>())
    }

    /// A connection under a name of its own.
    fn connection(
        &mut self,
        now: HostTime,
        room: super::RoomKey,
        person: crate::time::PersonId,
        (rtc, offer, remote): (str0m::Rtc, String, Credentials),
        answer: &str,
    ) -> Connection {
        let id = SourceId(self.next_id);
        self.next_id = self.next_id.wrapping_add(1);
        let resource = ResourceId::new(self.random.random());
        let local_ufrag = Credentials::find(answer).map(|c| c.ufrag).unwrap_or_default();
        self.by_resource.insert(resource, id);
        self.by_ufrag.insert(local_ufrag.clone(), id);
        let new = NewConnection {
            id,
            room,
            person,
            resource,
            etag: self.etag(),
            rtc,
            offer,
            remote,
            local_ufrag,
            candidates: self.addresses.announced.clone(),
        };
        Connection::new(new, now)
    }

    fn forget(&mut self, link: &Connection) {
        self.by_resource.remove(&link.resource);
        self.by_ufrag.remove(&link.local_ufrag);
        for remote in &link.remotes {
            if self.by_remote.get(remote) == Some(&link.id) {
                self.by_remote.remove(remote);
            }
        }
    }

    fn drain(&mut self, now: HostTime, id: SourceId) {
        let outcome = match self.peers.get_mut(&id) {
            Some(Peer::Publisher(peer)) => peer.drain(&mut self.shared, now),
            Some(Peer::Subscriber(peer)) => peer.drain(&mut self.shared, now),
            None => return,
        };
        self.settle(now, id, outcome);
    }

    /// Ends a session; a publisher's takes its subscribers' with it.
    pub(super) fn end(&mut self, now: HostTime, id: SourceId, why: LeftWhy) {
        let Some(mut peer) = self.peers.remove(&id) else { return };
        peer.link_mut().close(&mut self.shared, now);
        self.shared.notices.clear();
        self.forget(peer.link());
        match peer {
            Peer::Subscriber(subscriber) => {
                if let Some(Peer::Publisher(publisher)) = self.peers.get_mut(&subscriber.source) {
                    publisher.subscribers.retain(|other| *other != id);
                }
            }
            Peer::Publisher(publisher) => {
                self.publishers -= 1;
                for track in publisher.tracks() {
                    self.by_track.remove(&track);
                }
                for subscriber in publisher.subscribers {
                    self.end(now, subscriber, why);
                }
                let (key, person, kind) =
                    (publisher.link.room, publisher.link.person, publisher.kind);
                self.shared.outputs.push_back(Output::Gone { room: key, source: id, at: now });
                let Some(room) = self.rooms.get_mut(&key) else { return };
                if room.publishers.get(&(person, kind)) == Some(&id) {
                    room.publishers.remove(&(person, kind));
                }
                let still = room.has(person);
                let room = room.name.clone();
                let left = Event::Left { room, source: id, person, kind, why };
                self.shared.outputs.push_back(Output::Event(left));
                if !still {
                    self.silenced(key, person);
                }
            }
        }
    }

    fn restart(
        &mut self,
        now: HostTime,
        id: SourceId,
        new: Credentials,
    ) -> Result<Patched, PatchError> {
        let etag = self.etag();
        let peer = self.peers.get_mut(&id).ok_or(PatchError::NotFound)?.link_mut();
        if new.ufrag == peer.remote.ufrag || new.pwd == peer.remote.pwd {
            return Err(PatchError::Unprocessable(
                "to restart ICE, change both ice-ufrag and ice-pwd (RFC 8445 §9)".into(),
            ));
        }
        // str0m restarts ICE by a whole offer; WHIP's fragment stands for one in which nothing
        // else has changed.
        let offer = sdp::with_credentials(&peer.offer, &new);
        let rtc = &mut peer.rtc;
        let answer = guarded(|| SdpOffer::from_sdp_string(&offer))
            .and_then(|parsed| guarded(|| rtc.sdp_api().accept_offer(parsed)))
            .map_err(PatchError::Unprocessable)?
            .to_sdp_string();
        let ufrag = Credentials::find(&answer).map(|c| c.ufrag).unwrap_or_default();
        self.by_ufrag.remove(&peer.local_ufrag);
        self.by_ufrag.insert(ufrag.clone(), id);
        peer.local_ufrag = ufrag;
        peer.remote = new;
        peer.offer = offer;
        peer.etag.clone_from(&etag);
        peer.last_heard = now; // a restart is a sign of life
        self.drain(now, id);
        Ok(Patched::Restarted { fragment: sdp::answer_fragment(&answer), etag })
    }
}

fn cannot_take(codec: SourceCodec) -> String {
    let name = match codec {
        SourceCodec::H264 => "H.264 (packetization-mode=1)",
        SourceCodec::Vp8 => "VP8",
        SourceCodec::Vp9 => "VP9 (profile 0)",
        SourceCodec::Av1 => "AV1",
        SourceCodec::Opus => "Opus",
    };
    format!("this person sends {name}, which the offer does not take: offer it too")
}

impl From<PublishError> for SubscribeError {
    /// What may be wrong with an offer of either kind.
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::BadSdp(why) => Self::BadSdp(why),
            PublishError::Unprocessable(why) => Self::Unprocessable(why),
            PublishError::NotAcceptable(why) => Self::NotAcceptable(why),
            PublishError::Full => Self::Full,
            PublishError::Command(error) => Self::Command(error),
            PublishError::NotOpen | PublishError::StageFull => Self::NotOnStage,
        }
    }
}
