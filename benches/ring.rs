//! The ring's cost a packet: what the SFU's thread pays to write one, and the transcoder to read it.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use proscenium::link::ring::{Record, RingWriter, RtpRecord};
use proscenium::time::{HostTime, SourceCodec, SourceId, TrackId};
use std::hint::black_box;

const PAYLOAD: [u8; 1200] = [0x5a; 1200];

fn packet(seq: u64) -> Record<'static> {
    Record::Rtp(RtpRecord {
        source: SourceId(1),
        track: TrackId(1),
        codec: SourceCodec::H264,
        keyframe: seq.is_multiple_of(1000),
        marker: seq.is_multiple_of(10),
        layer: 0,
        seq,
        timestamp: seq as u32,
        arrived: HostTime(seq as i64),
        payload: &PAYLOAD,
    })
}

fn ring(c: &mut Criterion) {
    let mut group = c.benchmark_group("ring");
    group.throughput(Throughput::Elements(1));

    let mut writer = RingWriter::create(16 << 20).expect("memory for a ring");
    let mut seq = 0;
    group.bench_function("push 1200 bytes, overwriting", |b| {
        b.iter(|| {
            seq += 1;
            writer.push(black_box(&packet(seq))).expect("it fits");
        });
    });

    let mut reader = writer.reader().expect("the same memory");
    group.bench_function("push and read 1200 bytes", |b| {
        reader.seek_oldest();
        while let Ok(Some(_)) | Err(_) = reader.next() {}
        b.iter(|| {
            seq += 1;
            writer.push(black_box(&packet(seq))).expect("it fits");
            match reader.next() {
                Ok(Some(record)) => black_box(record.arrived()),
                other => panic!("{other:?}"),
            }
        });
    });

    group.bench_function("push 32 packets, ring the bell", |b| {
        let bell = writer.bell();
        b.iter(|| {
            for _ in 0..32 {
                seq += 1;
                writer.push(black_box(&packet(seq))).expect("it fits");
            }
            writer.notify();
            bell.silence()
        });
    });

    group.bench_function("find the key frame before a time", |b| {
        b.iter(|| reader.seek_keyframe_before(black_box(HostTime(seq as i64 - 5000))));
    });
    group.finish();
}

criterion_group!(benches, ring);
criterion_main!(benches);
