//! Tokens: who may do what in which room, signed.
//!
//! A token is a JWT (RFC 7519) with HS256 under a secret that the box keeps, or EdDSA (Ed25519)
//! under a key pair of which the box needs only the public half: a school's portal signs, the box
//! checks. Each key knows its one algorithm; the token's `alg` header chooses among keys, never
//! how a key is used, so a public key can not be mistaken for a secret.
//!
//! Checking takes `now`. What a stranger learns from a refusal is which of a few fixed sentences
//! applies, never a key or a parser's words.

mod keys;

use crate::time::RoomName;
use crate::units::Span;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
pub use keys::{KeyError, generate_key_pair};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};

/// Longest token that is looked at, bytes.
pub const MAX_TOKEN: usize = 4096;

/// Longest subject, bytes.
const MAX_SUBJECT: usize = 256;

/// `[tokens]` in the configuration file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The file with the HS256 secret; made with a random one (mode 0600) when it is missing.
    /// Without it no token signed by this box is valid.
    pub secret_file: Option<PathBuf>,
    /// A PEM file with the Ed25519 public key of someone else who may sign tokens.
    pub public_key_file: Option<PathBuf>,
    /// How far clocks may be apart.
    pub leeway: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            secret_file: Some(PathBuf::from("token.secret")),
            public_key_file: None,
            leeway: Span::secs(30),
        }
    }
}

impl Config {
    /// The same with relative paths taken from `base`.
    pub fn rooted(mut self, base: &Path) -> Self {
        for path in [&mut self.secret_file, &mut self.public_key_file].into_iter().flatten() {
            *path = base.join(&*path);
        }
        self
    }

    /// # Errors
    /// What cannot work, and the cure.
    pub fn check(&self) -> Result<(), String> {
        if self.secret_file.is_none() && self.public_key_file.is_none() {
            return Err(
                "secret_file and public_key_file are both missing: without a key no token \
                        is valid and nobody can publish"
                    .into(),
            );
        }
        if self.leeway > Span::secs(300) {
            return Err(format!("leeway must be at most 5 min, not {}", self.leeway));
        }
        Ok(())
    }
}

/// What its holder may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Publishes, and decides about the room.
    Teacher,
    /// Publishes.
    Speaker,
    /// Watches.
    Viewer,
    /// Everything, in every room the token names.
    Admin,
}

impl Role {
    /// Whether the holder may send pictures and sound.
    pub const fn may_publish(self) -> bool {
        matches!(self, Self::Teacher | Self::Speaker | Self::Admin)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Teacher => "teacher",
            Self::Speaker => "speaker",
            Self::Viewer => "viewer",
            Self::Admin => "admin",
        })
    }
}

/// Which rooms a token is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Scope {
    /// Every room; `*` in the token.
    Every,
    /// One room.
    Room(RoomName),
}

impl Scope {
    /// Whether `room` is among them.
    pub fn covers(&self, room: &RoomName) -> bool {
        match self {
            Self::Every => true,
            Self::Room(name) => name == room,
        }
    }
}

impl std::str::FromStr for Scope {
    type Err = crate::time::BadRoomName;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "*" { Ok(Self::Every) } else { RoomName::parse(text).map(Self::Room) }
    }
}

impl TryFrom<String> for Scope {
    type Error = crate::time::BadRoomName;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        scope.to_string()
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every => f.write_str("*"),
            Self::Room(name) => name.fmt(f),
        }
    }
}

/// What a token says. Claims that are not ours are passed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Where it holds.
    pub room: Scope,
    /// What it allows.
    pub role: Role,
    /// Who holds it; two connections with one subject are one person.
    pub sub: String,
    /// Last valid second, Unix time.
    pub exp: u64,
    /// First valid second, Unix time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<u64>,
    /// What the others in the room see. Cut to [`MAX_NAME`](crate::link::wire::MAX_NAME) bytes where it is
    /// shown: a portal's long names are no reason to keep anybody out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Why a token is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not a JWT at all, signed by another key, altered, or claims missing.
    #[error("the token is not valid here: ask for a new one, signed with this server's key")]
    Invalid,
    /// Its time is over.
    #[error("the token has expired: ask for a new one")]
    Expired,
    /// Its time has not come.
    #[error("the token is not valid yet: check the clocks, or wait")]
    NotYet,
}

/// Checks tokens. Holds the keys.
pub struct Verifier {
    keys: Vec<(Algorithm, DecodingKey)>,
    leeway: u64,
    /// For what the box signs itself.
    signer: Signer,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let algorithms: Vec<_> = self.keys.iter().map(|(algorithm, _)| algorithm).collect();
        f.debug_struct("Verifier").field("algorithms", &algorithms).finish_non_exhaustive()
    }
}

impl Verifier {
    /// Reads the keys; makes the secret file where it is configured and missing.
    ///
    /// # Errors
    /// A file that cannot be read or made, or holds no such key: which file, and the cure.
    pub fn open(config: &Config) -> Result<Self, KeyError> {
        let secret = match &config.secret_file {
            Some(path) => keys::read_or_make_secret(path)?,
            // Guests' tokens need a key all the same; it is forgotten when the box stops, and so are they.
            None => keys::random_secret()?,
        };
        let mut verifier = Self { leeway: config.leeway.0.as_secs(), ..Self::with_secret(&secret) };
        if let Some(path) = &config.public_key_file {
            verifier.keys.push((Algorithm::EdDSA, keys::read_public(path)?));
        }
        Ok(verifier)
    }

    /// With one secret that is in no file; for tests and for the demo.
    pub fn with_secret(secret: &[u8]) -> Self {
        Self {
            keys: vec![(Algorithm::HS256, DecodingKey::from_secret(secret))],
            leeway: 30,
            signer: Signer::with_secret(secret),
        }
    }

    /// Signs what [`Verifier::verify`] of this box believes: guests' tokens.
    pub fn signer(&self) -> &Signer {
        &self.signer
    }

    /// What `token` grants at `now` (Unix seconds).
    ///
    /// # Errors
    /// A [`Refusal`]; its text may be shown to anyone.
    pub fn verify(&self, token: &str, now: u64) -> Result<Grant, Refusal> {
        if token.len() > MAX_TOKEN {
            return Err(Refusal::Invalid);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| Refusal::Invalid)?;
        let grant = self
            .keys
            .iter()
            .filter(|(algorithm, _)| *algorithm == header.alg)
            .find_map(|(algorithm, key)| decode(token, *algorithm, key))
            .ok_or(Refusal::Invalid)?;
        if grant.sub.is_empty() || grant.sub.len() > MAX_SUBJECT {
            return Err(Refusal::Invalid);
        }
        if now > grant.exp.saturating_add(self.leeway) {
            return Err(Refusal::Expired);
        }
        match grant.nbf {
            Some(nbf) if now.saturating_add(self.leeway) < nbf => Err(Refusal::NotYet),
            _ => Ok(grant),
        }
    }
}

fn decode(token: &str, algorithm: Algorithm, key: &DecodingKey) -> Option<Grant> {
    let mut rules = Validation::new(algorithm);
    // Times are ours to check, against the caller's clock and not the library's.
    rules.validate_exp = false;
    rules.validate_nbf = false;
    // A token made for another audience says so, and is not for us.
    rules.validate_aud = true;
    rules.set_required_spec_claims(&["exp", "sub"]);
    jsonwebtoken::decode::<Grant>(token, key, &rules).ok().map(|data| data.claims)
}

/// Signs tokens.
pub struct Signer {
    algorithm: Algorithm,
    key: EncodingKey,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

impl Signer {
    /// With the secret in `path` (HS256), which is made when it is missing.
    ///
    /// # Errors
    /// A file that cannot be read or made.
    pub fn from_secret_file(path: &Path) -> Result<Self, KeyError> {
        Ok(Self::with_secret(&keys::read_or_make_secret(path)?))
    }

    /// With an Ed25519 private key (PKCS#8 PEM) in `path`.
    ///
    /// # Errors
    /// A file that cannot be read or holds no such key.
    pub fn from_private_key_file(path: &Path) -> Result<Self, KeyError> {
        Ok(Self { algorithm: Algorithm::EdDSA, key: keys::read_private(path)? })
    }

    /// With a secret that is in no file; for tests and for the demo.
    pub fn with_secret(secret: &[u8]) -> Self {
        Self { algorithm: Algorithm::HS256, key: EncodingKey::from_secret(secret) }
    }

    /// The signed token.
    ///
    /// # Errors
    /// The crypto library's refusal; not expected.
    pub fn sign(&self, grant: &Grant) -> Result<String, KeyError> {
        jsonwebtoken::encode(&Header::new(self.algorithm), grant, &self.key)
            .map_err(|e| KeyError::Sign(e.to_string()))
    }
}

/// Now, in Unix seconds: what [`Verifier::verify`] wants outside of tests.
pub fn unix_now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
