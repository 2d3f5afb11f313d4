//! Writes the targets' seeds to `fuzz/corpus`, where cargo-fuzz looks for them.

#[allow(dead_code)]
#[path = "../../../tests/fuzz/targets/mod.rs"]
mod targets;

use std::path::Path;

fn main() -> std::io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for target in targets::ALL {
        let directory = corpus.join(target.name);
        std::fs::create_dir_all(&directory)?;
        for (n, seed) in (target.seeds)().iter().enumerate() {
            std::fs::write(directory.join(format!("seed-{n}")), seed)?;
        }
    }
    println!("seeds are in {}", corpus.display());
    Ok(())
}
