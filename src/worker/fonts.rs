//! The fonts in which names are written: read once a process, before it is walled in.

use crate::compose::text::Fonts;
use std::sync::{Arc, LazyLock};

/// The best first; the other has letters that it lacks. The first is in `fonts-dejavu-core`, which every Debian desktop
/// and our own list of packages has; the second need not be there.
const FILES: [&str; 2] = [
    "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf",
    "/usr/share/fonts/truetype/droid/DroidSansFallbackFull.ttf",
];

/// Largest font that is read.
const MAX_FONT: u64 = 32 << 20;

/// Those that are installed. Without any, names are written in the built-in font, which has no accents.
pub(super) fn load() -> Arc<Fonts> {
    static FONTS: LazyLock<Arc<Fonts>> = LazyLock::new(|| {
        let small = |path: &str| std::fs::metadata(path).is_ok_and(|file| file.len() <= MAX_FONT);
        let there = FILES.iter().filter(|path| small(path));
        let fonts = Fonts::new(there.filter_map(|path| std::fs::read(path).ok()));
        if fonts.is_empty() {
            let path = FILES[0];
            tracing::warn!(
                path,
                "no font: names on stage are written without accents; install fonts-dejavu-core"
            );
        }
        Arc::new(fonts)
    });
    Arc::clone(&FONTS)
}
