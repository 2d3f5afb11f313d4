//! Keys in files.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{DecodingKey, EncodingKey};
use rand::TryRngCore;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Shortest secret for HS256, bytes: as long as the hash (RFC 7518 §3.2).
const MIN_SECRET: usize = 32;

/// Longest key file that is read, bytes.
const MAX_FILE: u64 = 64 * 1024;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file cannot be read or made.
    #[error("{path}: {error}: {cure}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
        /// What to do.
        cure: &'static str,
    },
    /// A file holds something else.
    #[error("{path}: {problem}", path = path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// What is wrong, and the cure.
        problem: String,
    },
    /// Signing or making a key failed.
    #[error("the crypto library refused: {0}")]
    Sign(String),
}

fn read(path: &Path, cure: &'static str) -> Result<Vec<u8>, KeyError> {
    let file = |error| KeyError::File { path: path.to_owned(), error, cure };
    if fs::metadata(path).map_err(file)?.len() > MAX_FILE {
        let problem = "too long for a key: is this the right file?".to_owned();
        return Err(KeyError::Content { path: path.to_owned(), problem });
    }
    fs::read(path).map_err(file)
}

/// The secret: the file's text without white space around it.
pub(super) fn read_or_make_secret(path: &Path) -> Result<Vec<u8>, KeyError> {
    match make_secret(path) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) if path.exists() => drop(error), // a read-only folder that has the file
        Err(error) => {
            return Err(KeyError::File {
                path: path.to_owned(),
                error,
                cure: "the folder must exist and be writable for a new secret to be made",
            });
        }
    }
    let text = read(path, "the secret must be readable by the user Proscenium runs as")?;
    let secret = text.trim_ascii();
    if secret.len() < MIN_SECRET {
        let problem = format!(
            "{} bytes are too few for a secret, {MIN_SECRET} are needed: delete the file and a \
             good one is made at the next start",
            secret.len()
        );
        return Err(KeyError::Content { path: path.to_owned(), problem });
    }
    Ok(secret.to_owned())
}

/// Makes the file with 32 random bytes as base64, whole or not at all: it is written under another
/// name and linked, so that two processes that start together agree on one secret.
fn make_secret(path: &Path) -> std::io::Result<()> {
    if path.exists() {
        return Err(ErrorKind::AlreadyExists.into());
    }
    let secret = random_secret().map_err(std::io::Error::other)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let draft = path.with_file_name(name);
    let written = write_private(&draft, &[secret.as_slice(), b"\n"].concat())
        .and_then(|()| fs::hard_link(&draft, path));
    let removed = fs::remove_file(&draft);
    written.and(removed)
}

/// 32 random bytes, as base64.
pub(super) fn random_secret() -> Result<Vec<u8>, KeyError> {
    let mut bytes = [0; 32];
    let filled = rand::rngs::OsRng.try_fill_bytes(&mut bytes);
    filled.map_err(|error| KeyError::Sign(error.to_string()))?;
    Ok(STANDARD.encode(bytes).into_bytes())
}

fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

pub(super) fn read_public(path: &Path) -> Result<DecodingKey, KeyError> {
    let pem = read(path, "the public key must be readable by the user Proscenium runs as")?;
    DecodingKey::from_ed_pem(&pem).map_err(|_| KeyError::Content {
        path: path.to_owned(),
        problem: "no Ed25519 public key in PEM (it starts with -----BEGIN PUBLIC KEY-----): make \
                  a pair with 'proscenium token --new-key-pair'"
            .into(),
    })
}

pub(super) fn read_private(path: &Path) -> Result<EncodingKey, KeyError> {
    let pem = read(path, "the private key must be readable by you")?;
    EncodingKey::from_ed_pem(&pem).map_err(|_| KeyError::Content {
        path: path.to_owned(),
        problem: "no Ed25519 private key in PKCS#8 PEM (it starts with -----BEGIN PRIVATE \
                  KEY-----): make a pair with 'proscenium token --new-key-pair'"
            .into(),
    })
}

/// Makes an Ed25519 key pair: the private half in `path` (mode 0600, PKCS#8 PEM, never
/// overwritten), the public half beside it with `.pub` appended. Returns the public half's path.
///
/// # Errors
/// Files that exist already or cannot be made.
pub fn generate_key_pair(path: &Path) -> Result<PathBuf, KeyError> {
    let refused = |e: aws_lc_rs::error::Unspecified| KeyError::Sign(e.to_string());
    let pair = Ed25519KeyPair::generate().map_err(refused)?;
    let private = pair.to_pkcs8v1().map_err(refused)?;
    let public = AsDer::<aws_lc_rs::encoding::PublicKeyX509Der<'_>>::as_der(pair.public_key())
        .map_err(refused)?;
    let mut public_path = path.as_os_str().to_owned();
    public_path.push(".pub");
    let public_path = PathBuf::from(public_path);
    let halves = [
        (path, pem("PRIVATE KEY", private.as_ref())),
        (public_path.as_path(), pem("PUBLIC KEY", public.as_ref())),
    ];
    for (path, text) in halves {
        write_private(path, text.as_bytes()).map_err(|error| KeyError::File {
            path: path.to_owned(),
            error,
            cure: "give the name of a new file in a folder you can write to",
        })?;
    }
    Ok(public_path)
}

/// RFC 7468: 64 characters a line.
fn pem(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in STANDARD.encode(der).as_bytes().chunks(64) {
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}
