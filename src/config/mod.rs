//! The configuration file: composes the modules' own configurations, and checks what none of them
//! can see alone.

pub mod load;

pub use load::Complaint;

use crate::daemon::lifecycle;
use crate::link::supervise;
use crate::rooms::{self, stage, token};
use crate::{ladder, observe, origin, package, sfu};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Where the configuration is when no other place is named.
pub const DEFAULT_FILE: &str = "/etc/proscenium/proscenium.toml";

/// Everything that can be configured. Each section belongs to the module that reads it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where things are kept.
    pub paths: Paths,
    /// The HTTP side: origin, API, pages.
    pub http: origin::Config,
    /// The stage's media port.
    pub sfu: sfu::Config,
    /// Whose tokens are believed.
    pub tokens: token::Config,
    /// Who comes on stage, and how fast a room may be talked to.
    pub stage: stage::Config,
    /// When a class starts and ends.
    pub class: lifecycle::Config,
    /// How a class looks to players.
    pub live: package::Config,
    /// How patient the daemon is with transcoders.
    pub transcoder: supervise::Config,
    /// Which rungs are made.
    pub ladder: ladder::Config,
    /// The output's shape.
    pub output: package::format::Config,
    /// What is logged, and how.
    pub log: observe::Config,
    /// The rooms there are.
    pub room: Vec<rooms::RoomConfig>,
}

/// Where things are kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Paths {
    /// What must survive a restart, such as the token secret. Relative paths in other
    /// sections start here.
    pub state: PathBuf,
}

impl Default for Paths {
    fn default() -> Self {
        Self { state: "/var/lib/proscenium".into() }
    }
}

/// A configuration and where it came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The file's name, or words for none.
    pub file: String,
    /// The configuration in force.
    pub config: Config,
}

impl Config {
    /// Reads `file` (or the default file where it exists), lays the environment over it, checks.
    ///
    /// # Errors
    /// The first complaint.
    pub fn load(file: Option<&Path>) -> Result<Loaded, Box<Complaint>> {
        let (name, text) = match file {
            Some(path) => {
                let name = path.display().to_string();
                let text = std::fs::read_to_string(path).map_err(|error| {
                    Box::new(Complaint {
                        file: name.clone(),
                        line: None,
                        key: None,
                        what: format!("cannot be read: {error}"),
                        cure: Some("name a readable file with --config".into()),
                        excerpt: None,
                    })
                })?;
                (name, text)
            }
            None => match std::fs::read_to_string(DEFAULT_FILE) {
                Ok(text) => (DEFAULT_FILE.to_owned(), text),
                Err(_) => ("built-in defaults".to_owned(), String::new()),
            },
        };
        let environment: Vec<(String, String)> = std::env::vars()
            .filter_map(|(key, value)| Some((key.strip_prefix("PROSCENIUM_")?.to_owned(), value)))
            .collect();
        let config: Self = load::load(&name, &text, &environment)?;
        config.check(&name, &text)?;
        Ok(Loaded { file: name, config })
    }

    /// The rules that serde cannot see.
    fn check(&self, file: &str, text: &str) -> Result<(), Box<Complaint>> {
        let rule = |key: &str, what: String, cure: &str| {
            Err(load::rule(file, text, key, what, cure.to_owned()))
        };
        if let Err((key, what, cure)) = self.output.format() {
            return rule(&format!("output.{key}"), what, &cure);
        }
        if let Err(error) = self.sfu.check() {
            return rule(
                &format!("sfu.{}", error.key),
                error.problem,
                "see configs/proscenium.toml",
            );
        }
        if let Err((key, what, cure)) = self.transcoder.check() {
            return rule(&format!("transcoder.{key}"), what, &cure);
        }
        if let Err((key, what, cure)) = self.stage.check() {
            return rule(&format!("stage.{key}"), what, &cure);
        }
        if let Err((key, what, cure)) = self.ladder.check() {
            return rule(&format!("ladder.{key}"), what, &cure);
        }
        // These name the key at the start of their words.
        let sections = [
            ("http", self.http.check()),
            ("tokens", self.tokens.check()),
            ("live", self.live.check()),
            ("log", self.log.check()),
        ];
        for (section, outcome) in sections {
            if let Err(what) = outcome {
                let key = what.split([' ', ':']).next().unwrap_or_default().to_owned();
                return rule(&format!("{section}.{key}"), what, "see configs/proscenium.toml");
            }
        }
        let http = self.http.listen.port();
        if self.sfu.tcp && http == self.sfu.port && http != 0 {
            return rule(
                "sfu.port",
                format!("port {http} is http.listen's too: ICE-TCP needs it for itself"),
                "give one of them another number, or set sfu.tcp = false",
            );
        }
        let mut names = BTreeSet::new();
        if let Some(twice) = self.room.iter().find(|room| !names.insert(&room.name)) {
            return rule(
                "room.name",
                format!("the room '{}' is there twice", twice.name),
                "give every room a name of its own",
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn complaint(text: &str) -> Complaint {
        let config: Config = load::load("box.toml", text, &[]).unwrap();
        *config.check("box.toml", text).unwrap_err()
    }

    #[test]
    fn the_sample_file_says_what_the_defaults_are() {
        let text = include_str!("../../configs/proscenium.toml");
        let mut config: Config = load::load("proscenium.toml", text, &[]).unwrap();
        assert_eq!(config.room.len(), 1, "a room to show how");
        config.room.clear();
        assert_eq!(config, Config::default());
        config.check("proscenium.toml", text).unwrap();
    }

    #[test]
    fn http_and_ice_tcp_cannot_have_the_same_port() {
        let error = complaint("[http]\nlisten = \"[::]:8189\"\n[sfu]\nport = 8189\n");
        assert_eq!((error.key.as_deref(), error.line), (Some("sfu.port"), Some(4)));
    }

    #[test]
    fn a_room_that_is_there_twice_is_named() {
        let error = complaint("[[room]]\nname = \"a\"\n[[room]]\nname = \"a\"\n");
        assert!(error.what.contains("'a'"), "{error}");
    }

    #[test]
    fn a_section_s_own_rule_is_reported_with_its_line() {
        let error = complaint("[log]\nlevel = \"=/=\"\n");
        assert_eq!(error.line, Some(2), "{error}");
        assert_eq!(complaint("[output]\nfps = 29\n").key.as_deref(), Some("output.fps"));
        let error = complaint("[stage]\nguests = false\nmax_hands = 0\n");
        assert_eq!((error.key.as_deref(), error.line), (Some("stage.max_hands"), Some(3)));
        assert!(error.cure.is_some_and(|cure| cure.contains("from 1 to")));
    }
}
