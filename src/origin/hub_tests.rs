#![allow(clippy::unwrap_used)]

use super::*;
use crate::package::testing::{Parts, presentation};

fn hub(max_waiting: usize) -> (Hub, LivePublisher, Parts, Arc<Channel>) {
    let hub = Hub::new(&Config { workers: 1, max_waiting, ..Default::default() });
    let publisher = open(&hub, "s1");
    let channel = hub.channel("bar").unwrap();
    (hub, publisher, Parts::new(), channel)
}

fn open(hub: &Hub, session: &str) -> LivePublisher {
    let room = RoomName::parse("bar").unwrap();
    hub.open(&room, presentation(), session, 0, &Default::default()).unwrap()
}

fn publish(publisher: &mut LivePublisher, parts: &mut Parts) {
    let (part, bytes) = parts.next();
    publisher.publish(&part, &bytes).unwrap();
}

fn part(msn: u64, part: u64) -> Point {
    Point::Part { msn, part }
}

#[tokio::test]
async fn line_25_requests_for_one_point_share_a_gate_and_wake_together() {
    let (hub, mut publisher, mut parts, channel) = hub(10_000);
    let shard = hub.shards()[0].clone();
    let relay = tokio::spawn(shard.clone().relay());
    let tasks: Vec<_> = (0..1000)
        .map(|n| tokio::spawn(hub.wait(&shard, &channel, part(0, n % 2)).unwrap()))
        .collect();
    while shard.waiting().1 < 1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(shard.waiting(), (2, 1000));
    publish(&mut publisher, &mut parts);
    for task in tasks.into_iter().step_by(2) {
        task.await.unwrap();
    }
    // The other half waits on for part 1.
    assert_eq!((shard.waiting(), channel.waiting()), ((1, 500), 500));
    publish(&mut publisher, &mut parts);
    while channel.waiting() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(shard.waiting(), (0, 0));
    relay.abort();
}

#[tokio::test]
async fn a_request_that_goes_away_leaves_nothing_behind() {
    let (hub, _publisher, _, channel) = hub(10);
    let shard = hub.shards()[0].clone();
    let tasks: Vec<_> =
        (0..10).map(|_| tokio::spawn(hub.wait(&shard, &channel, part(0, 0)).unwrap())).collect();
    while shard.waiting() != (1, 10) {
        tokio::task::yield_now().await;
    }
    // As many as may wait do; one more is refused and does not count.
    assert!(hub.wait(&shard, &channel, part(0, 0)).is_err());
    for task in tasks {
        task.abort();
        let _ = task.await;
    }
    assert_eq!((shard.waiting(), channel.waiting()), ((0, 0), 0));
}

#[tokio::test]
async fn the_end_and_a_new_class_wake_everybody() {
    let (hub, mut publisher, mut parts, channel) = hub(10);
    let shard = hub.shards()[0].clone();
    let relay = tokio::spawn(shard.clone().relay());
    publish(&mut publisher, &mut parts);
    let wait = tokio::spawn(hub.wait(&shard, &channel, Point::Segment { msn: 1 }).unwrap());
    tokio::task::yield_now().await;
    let next = open(&hub, "s2");
    wait.await.unwrap();
    assert!(channel.snapshot().window().ended());
    let wait = tokio::spawn(hub.wait(&shard, &hub.channel("bar").unwrap(), part(0, 0)).unwrap());
    tokio::task::yield_now().await;
    drop(next);
    wait.await.unwrap();
    let room = RoomName::parse("bar").unwrap();
    assert!(hub.live(&room).unwrap().snapshot.window().ended());
    hub.close(&room);
    assert!(hub.live(&room).is_none());
    relay.abort();
}

#[test]
fn viewers_are_those_that_ask_once_a_part() {
    let (hub, mut publisher, mut parts, channel) = hub(10);
    let room = RoomName::parse("bar").unwrap();
    for _ in 0..24 {
        (0..7).for_each(|_| channel.polled());
        publish(&mut publisher, &mut parts);
    }
    assert_eq!(hub.live(&room).unwrap().viewers, 7);
    for _ in 0..12 {
        publish(&mut publisher, &mut parts);
    }
    assert_eq!(hub.live(&room).unwrap().viewers, 0);
}

#[test]
fn sessions_are_unique_and_fit_urls() {
    let (a, b) = (new_session(), new_session());
    assert!(a != b && a.len() == 20 && a.bytes().all(|c| c.is_ascii_hexdigit()));
}
