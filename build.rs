//! Builds the pages of `src/web` and writes the table that `web` includes.
//!
//! Needs Node and npm, except where `PROSCENIUM_WEB_DIST` names a folder that `vite build` made
//! elsewhere. npm is asked for packages only when `package-lock.json` changed, so a second build
//! works offline; one build at a time touches `src/web/node_modules`, however many cargos run.
//! Everything this script writes beside that is in `OUT_DIR`.

use std::error::Error;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, io};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What a change of makes the pages be built again, below `src/web`.
const SOURCES: &[&str] = &[
    "index.html",
    "watch.html",
    "teach.html",
    "pages",
    "package.json",
    "package-lock.json",
    "tsconfig.json",
    "vite.config.ts",
];

fn main() {
    if let Err(error) = build() {
        // cargo shows the standard error of a build script that failed, as it stands.
        eprintln!("\nthe pages in src/web were not built: {error}\n");
        std::process::exit(1);
    }
}

fn build() -> Result<()> {
    let web = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("src/web");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=PROSCENIUM_WEB_DIST");
    for source in SOURCES {
        println!("cargo::rerun-if-changed={}", web.join(source).display());
    }
    let dist = match env::var_os("PROSCENIUM_WEB_DIST") {
        Some(dist) => PathBuf::from(dist),
        None => {
            let dist = out.join("pages");
            bundle(&web, &dist)?;
            dist
        }
    };
    let table = table(&dist).map_err(|e| format!("{}: {e}", dist.display()))?;
    fs::write(out.join("pages.rs"), table)?;
    Ok(())
}

/// `npm ci` where needed, then `vite build` into `dist`.
fn bundle(web: &Path, dist: &Path) -> Result<()> {
    let lock = File::create(web.join(".build-lock"))?;
    lock.lock()?;
    install(web)?;
    let vite = web.join("node_modules/vite/bin/vite.js");
    let mut build = Command::new("node");
    build.arg(vite).args(["build", "--logLevel", "warn", "--outDir"]).arg(dist).current_dir(web);
    run(build, "vite build")
}

/// Makes `node_modules` hold what `package-lock.json` says. A stamp inside says that it does.
fn install(web: &Path) -> Result<()> {
    let mut hasher = DefaultHasher::new();
    fs::read(web.join("package-lock.json"))?.hash(&mut hasher);
    let wanted = format!("{:016x}", hasher.finish());
    let stamp = web.join("node_modules/.proscenium");
    if fs::read_to_string(&stamp).is_ok_and(|have| have == wanted) {
        return Ok(());
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--prefer-offline", "--no-progress", "--loglevel=error"]).current_dir(web);
    run(npm, "npm ci")?;
    fs::write(stamp, wanted)?;
    Ok(())
}

/// Runs `command` to its end; on failure the error carries what it printed, or the cure.
fn run(mut command: Command, name: &str) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => format!(
            "`{name}` needs Node 20.19 or newer and npm, and '{}' is not installed here.\n\
             Cure: build in the userland (script/run cargo build), which has both; or install nodejs and npm;\n\
             or set PROSCENIUM_WEB_DIST to a folder that `npm ci && npx vite build` made in src/web.",
            command.get_program().display()
        ),
        _ => format!("cannot start `{name}`: {e}"),
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let cure = match name {
        "npm ci" => {
            "\nCure: the first build needs the npm registry (later ones do not). Is the network there, and does\n\
             `npm ping` answer? Behind a proxy that signs with its own authority, NODE_EXTRA_CA_CERTS must name it."
        }
        _ => "",
    };
    Err(format!("`{name}` ended with {}:\n{}{cure}", output.status, said.trim_end()).into())
}

/// The Rust source of the table of files, sorted by path.
fn table(dist: &Path) -> Result<String> {
    let mut files = Vec::new();
    walk(dist, dist, &mut files)?;
    files.sort();
    for page in ["index.html", "watch.html", "teach.html"] {
        if !files.iter().any(|f| f == page) {
            return Err(format!("no {page} in it").into());
        }
    }
    let mut code = String::from("&[\n");
    for name in files.iter().filter(|f| !f.ends_with(".br") && !f.ends_with(".gz")) {
        let path = dist.join(name);
        let mut hasher = DefaultHasher::new();
        fs::read(&path)?.hash(&mut hasher);
        let other = |ending: &str| {
            let name = format!("{name}.{ending}");
            match files.contains(&name) {
                true => format!("Some(include_bytes!({:?}))", dist.join(name)),
                false => "None".to_owned(),
            }
        };
        writeln!(
            code,
            "Asset {{ path: {name:?}, content_type: {:?}, hash: \"{:016x}\", plain: include_bytes!({path:?}), \
             brotli: {}, gzip: {} }},",
            content_type(name)?,
            hasher.finish(),
            other("br"),
            other("gz"),
        )?;
    }
    code.push_str("]\n");
    Ok(code)
}

fn walk(top: &Path, folder: &Path, files: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            walk(top, &path, files)?;
        } else {
            let name = path.strip_prefix(top)?.to_str().ok_or("a file name is not UTF-8")?;
            files.push(name.to_owned());
        }
    }
    Ok(())
}

/// An unknown ending is an error, not `application/octet-stream`: with `nosniff` no browser would
/// use such a file, and the page would break silently.
fn content_type(name: &str) -> Result<&'static str> {
    Ok(match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("json") => "application/json",
        Some("woff2") => "font/woff2",
        Some("txt") => "text/plain; charset=utf-8",
        _ => return Err(format!("no content type is known for {name}").into()),
    })
}
