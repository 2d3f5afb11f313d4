//! The load generator against a small box: what it says is what was sent.

use crate::support::{SECRET, TestBox};
use proscenium::load::report::Report;
use proscenium::load::run::{LoadError, Phase, Plan, Tokens, Where, run};
use proscenium::rooms::token::Signer;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

fn plan(url: String, secret: &[u8]) -> Plan {
    let tokens = Tokens::Signed(Arc::new(Signer::with_secret(secret)));
    Plan {
        server: Where::Proscenium { url, tokens, rooms: Vec::new() },
        rooms: 1,
        publishers: 2,
        participants: 2,
        seconds: Duration::from_secs(3),
        rate: 600_000,
        decrypt: None,
        server_pid: Some(std::process::id()),
        threads: 2,
        spread: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_packet_of_two_publishers_reaches_both_participants() {
    let stage = TestBox::start().await;
    let (_stop, stopped) = oneshot::channel();
    let mut phases = Vec::new();
    let plan = plan(stage.url(""), SECRET);
    let report = run(plan, stopped, |phase| phases.push(phase)).await.expect("a report");

    assert_eq!((report.subscriptions, report.connect_failures, report.disconnects), (4, 0, 0));
    assert_eq!((report.loss.packets, report.loss.generator_drops), (0, Some(0)), "{report}");
    // Each of the two sends 30 frames and 50 sounds a second, to both. What was under way when
    // counting began and ended is counted on one side only.
    let sent = report.published_packets * 2;
    let difference = report.forwarded_packets.abs_diff(sent + report.loss.repairs);
    assert!(report.published_packets > 2 * 3 * 80 - 40, "{report}");
    assert!(difference <= 60, "{} of {sent}\n{report}", report.forwarded_packets);
    let delay = report.delay_ms;
    assert!(delay.count > 300 && delay.p50.is_some_and(|ms| ms < 250.0), "{report}");
    assert!(report.rtt_ms.count > 0, "{report}");
    assert!(report.server.is_some_and(|server| server.cpu_seconds > 0.0), "{report}");
    assert!(phases.contains(&Phase::Connecting { up: 4, failed: 0, of: 4 }));
    assert!(
        phases
            .iter()
            .any(|phase| matches!(phase, Phase::Measuring { packets, .. } if *packets > 0.0))
    );
    assert_eq!(phases.last(), Some(&Phase::Ending));

    let json = serde_json::to_string(&report).expect("JSON");
    let read: Report = serde_json::from_str(&json).expect("itself");
    assert_eq!((read.loss, read.rtt_ms.count), (report.loss, report.rtt_ms.count));
    for field in ["\"rtt_ms\"", "\"delay_ms\"", "\"p99\"", "\"forwarded_packets_per_second\""] {
        assert!(json.contains(field), "{field} in {json}");
    }
    // Everybody was ended: they keep their places for a while, and nobody sends.
    let shown = crate::support::get(&stage.url("/api/v1/rooms/bar/stage")).await;
    let shown: serde_json::Value = serde_json::from_slice(&shown.body).expect("JSON");
    let people = shown["people"].as_array().expect("people");
    assert!(people.iter().all(|person| person["camera"] == false), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stops_a_run_is_told_and_stopping_it_is_a_report() {
    let stage = TestBox::start().await;
    let load = |plan| async move {
        let (_stop, stopped) = oneshot::channel();
        run(plan, stopped, |_| ()).await.expect_err("no report").to_string()
    };
    let url = stage.url("");
    let error = load(Plan { rooms: 2, ..plan(url.clone(), SECRET) }).await;
    assert!(error.contains("has 1 rooms, 2 were asked for"), "{error}");
    let error = load(plan(url.clone(), b"another secret, long enough to sign with")).await;
    assert!(error.contains("--token-secret"), "{error}");
    let error = load(plan("http://127.0.0.1:1".into(), SECRET)).await;
    assert!(error.contains("127.0.0.1:1"), "{error}");
    let nobody = Plan { server_pid: Some(u32::MAX), ..plan(url.clone(), SECRET) };
    assert!(load(nobody).await.contains("--server-pid"));

    // Ctrl-C while it measures: the report is of what there was until then.
    let (stop, stopped) = oneshot::channel();
    let mut stop = Some(stop);
    let long = Plan { seconds: Duration::from_secs(600), ..plan(url.clone(), SECRET) };
    let report = run(long, stopped, |phase| {
        if let Phase::Measuring { since, .. } = phase
            && since > Duration::from_secs(1)
            && let Some(stop) = stop.take()
        {
            let _ = stop.send(());
        }
    });
    let report = report.await.expect("a report");
    assert!(report.seconds < 60.0 && report.forwarded_packets > 0, "{report}");

    // ... and while it connects: there is nothing to report.
    let (stop, stopped) = oneshot::channel();
    let _ = stop.send(());
    let stopped = run(plan(url, SECRET), stopped, |_| ()).await;
    assert!(matches!(stopped, Err(LoadError::Stopped)));
}
