//! What a part costs the daemon before anybody asks: publishing it; and once for all who ask:
//! rendering and compressing a playlist.

mod class;

use class::Class;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use proscenium::origin::snapshot::{Coding, Snapshot};
use proscenium::package::playlist;
use std::hint::black_box;

fn benches(c: &mut Criterion) {
    let class = Class::new(12 * 20 + 5);
    c.bench_function("window/publish a part", |b| {
        b.iter_batched(
            || (class.window.clone(), class.clone().next()),
            |(mut window, (part, bytes))| {
                let _ = black_box(window.publish(&part, &bytes));
                window
            },
            BatchSize::SmallInput,
        )
    });
    c.bench_function("playlist/media", |b| {
        b.iter(|| playlist::media(black_box(&class.window), 0, false))
    });
    c.bench_function("playlist/delta update", |b| {
        b.iter(|| playlist::media(black_box(&class.window), 0, true))
    });
    c.bench_function("playlist/multivariant", |b| {
        b.iter(|| playlist::multivariant(black_box(&class.window)))
    });
    for coding in [Coding::Gzip, Coding::Brotli] {
        c.bench_function(&format!("playlist/render and {}", coding.name()), |b| {
            b.iter_batched(
                || Snapshot::new(class.window.clone()),
                |snapshot| {
                    black_box(snapshot.media(0, false).map(|text| text.bytes(Some(coding))));
                    snapshot
                },
                BatchSize::SmallInput,
            )
        });
    }
}

criterion_group!(group, benches);
criterion_main!(group);
