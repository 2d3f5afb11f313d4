//! Keeps the SFU as the stages want it: who is muted, who must go, what the picture is made of.
//!
//! What a class of people does on a stage comes in bursts; what the SFU is told is the newest state, and
//! only what differs from what it was told. A word that does not reach it is said again a second later.

use crate::link::wire;
use crate::rooms::stage::Stages;
use crate::rooms::stage::view::Orders;
use crate::sfu;
use crate::time::{HostTime, PersonId, RoomName};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::MissedTickBehavior;
use tracing::{debug, warn};

/// How often time passes on the stages, and what failed is tried again.
const TICK: Duration = Duration::from_secs(1);

/// What the SFU was told about a room.
#[derive(Debug, Default)]
struct Told {
    class: u64,
    picture: Option<Arc<[u8]>>,
    muted: BTreeSet<PersonId>,
    /// Who is still to be sent away.
    gone: BTreeSet<PersonId>,
}

/// Runs until it is dropped.
pub async fn keep(stages: Stages, sfu: sfu::Handle) {
    let mut rooms: BTreeMap<RoomName, Told> = BTreeMap::new();
    let mut unsaid: BTreeSet<RoomName> = BTreeSet::new();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            changed = stages.changed() => unsaid.extend(changed),
            _ = tick.tick() => {
                stages.tick(HostTime(hw::clock::monotonic_us()));
                figures(&stages);
            }
        }
        let mut still = BTreeSet::new();
        for room in unsaid {
            let told = rooms.entry(room.clone()).or_default();
            let Some(orders) = stages.orders(&room) else {
                // No class: the SFU has closed the room, or is about to.
                *told = Told::default();
                continue;
            };
            if let Err(error) = told.tell(&sfu, &room, orders).await {
                warn!(%room, %error, "the stage is not as it should be; trying again");
                still.insert(room);
            }
        }
        unsaid = still;
    }
}

/// Why the SFU is not as it should be.
#[derive(Debug, thiserror::Error)]
enum Untold {
    #[error(transparent)]
    Command(#[from] sfu::CommandError),
    #[error("the room is not open yet")]
    NotOpen,
    #[error("the stage cannot be told of: {0}")]
    Wire(#[from] wire::WireError),
}

impl Told {
    async fn tell(
        &mut self,
        sfu: &sfu::Handle,
        room: &RoomName,
        orders: Orders,
    ) -> Result<(), Untold> {
        if self.class != orders.class {
            *self = Self { class: orders.class, ..Self::default() };
        }
        self.gone.extend(orders.gone);
        // Who must not be heard or seen comes before how the others look.
        let seated = |id: &PersonId| orders.picture.seats.iter().any(|seat| seat.person == *id);
        self.gone.retain(|id| !seated(id));
        while let Some(person) = self.gone.first().copied() {
            let was_there = sfu.send_away(room.clone(), person).await?;
            debug!(%room, %person, was_there, "sent away");
            self.gone.remove(&person);
        }
        let differs: Vec<PersonId> =
            self.muted.symmetric_difference(&orders.muted).copied().collect();
        for person in differs {
            let muted = orders.muted.contains(&person);
            if !sfu.mute(room.clone(), person, muted).await? {
                return Err(Untold::NotOpen);
            }
            if muted {
                self.muted.insert(person)
            } else {
                self.muted.remove(&person)
            };
        }
        let picture: Arc<[u8]> = wire::encode(&orders.picture)?.into();
        if self.picture.as_ref() != Some(&picture) {
            if !sfu.set_stage(room.clone(), picture.clone()).await? {
                return Err(Untold::NotOpen);
            }
            self.picture = Some(picture);
        }
        Ok(())
    }
}

fn figures(stages: &Stages) {
    for (room, (people, hands)) in stages.counts() {
        metrics::gauge!("proscenium_stage_people", "room" => room.to_string()).set(people as f64);
        metrics::gauge!("proscenium_stage_hands", "room" => room.to_string()).set(hands as f64);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::link::ring::{Record, RingReader, RingWriter};
    use crate::rooms::stage::{self, Stage, Who};
    use crate::rooms::token::Role;
    use crate::time::{MediaKind, SourceId};

    const TEACHER: Who<'static> = Who { sub: "teacher", role: Role::Teacher, name: Some("Foo") };

    fn now() -> HostTime {
        HostTime(hw::clock::monotonic_us())
    }

    /// Reads the ring until it tells of a stage as `wanted`, ten seconds at most.
    async fn told(ring: &mut RingReader, wanted: impl Fn(&wire::Stage) -> bool) {
        let end = tokio::time::Instant::now() + Duration::from_secs(10);
        let mut last = None;
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        loop {
            while let Some(record) = ring.next().unwrap() {
                let Record::Stage { payload, .. } = record else { continue };
                let stage = wire::decode::<wire::Stage>(payload).unwrap();
                if wanted(&stage) {
                    return;
                }
                last = Some(stage);
            }
            assert!(tokio::time::Instant::now() < end, "the ring never told: {last:?}");
            tick.tick().await;
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_ring_learns_of_every_change_of_the_stage() {
        let config = sfu::Config {
            port: 0,
            tcp: false,
            socket: sfu::Socket::Portable,
            ..Default::default()
        };
        let (sfu, _events) = sfu::start(&config).unwrap();
        let room = RoomName::parse("bar").unwrap();
        let stages = Stages::new([room.clone()], &stage::Config::default(), 16);
        let keeper = tokio::spawn(keep(stages.clone(), sfu.clone()));
        let ask = |ask: &dyn Fn(&mut Stage)| stages.with(&room, now(), |stage| ask(stage)).unwrap();
        // The class is open before its ring is there: what could not be said is said again.
        ask(&|stage| stage.opened());
        let ring = RingWriter::create(1 << 20).unwrap();
        let mut reader = ring.reader().unwrap();
        sfu.attach_ring(room.clone(), ring).await.unwrap();
        told(&mut reader, |stage| stage.seats.is_empty()).await;

        let id =
            stages.with(&room, now(), |stage| stage.may_publish(&TEACHER, now()).unwrap()).unwrap();
        ask(&|stage| {
            stage.joined(id, MediaKind::Camera, SourceId(7), now()).unwrap();
        });
        told(&mut reader, |stage| {
            stage.seats.iter().any(|seat| seat.camera == Some(SourceId(7)) && seat.name == "Foo")
        })
        .await;
        ask(&|stage| stage.mute(&TEACHER, id, true, now()).unwrap());
        told(&mut reader, |stage| stage.seats.iter().any(|seat| seat.muted)).await;
        ask(&|stage| stage.remove(&TEACHER, id, now()).unwrap());
        told(&mut reader, |stage| stage.seats.is_empty()).await;

        // The next class of the room begins with what is true then.
        ask(&|stage| stage.ended(now()));
        sfu.detach_ring(room.clone()).await.unwrap();
        ask(&|stage| stage.opened());
        let ring = RingWriter::create(1 << 20).unwrap();
        let mut reader = ring.reader().unwrap();
        sfu.attach_ring(room.clone(), ring).await.unwrap();
        told(&mut reader, |stage| stage.seats.is_empty()).await;
        keeper.abort();
        sfu.stop().await;
    }
}
