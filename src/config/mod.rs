//! The configuration file: composes the modules' own configurations, and checks what none of them
//! can see alone.

pub mod load;

pub use load::Complaint;

use crate::{ladder, observe, package};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Where the configuration is when no other place is named.
pub const DEFAULT_FILE: &str = "/etc/proscenium/proscenium.toml";

/// Everything that can be configured. Each section belongs to the module that reads it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The output's shape.
    pub output: package::format::Config,
    /// The rungs.
    pub ladder: ladder::Config,
    /// What is logged, and how.
    pub log: observe::Config,
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
        self.output.format().map_err(|(key, what, cure)| {
            load::rule(file, text, &format!("output.{key}"), what, cure)
        })?;
        self.ladder.check().map_err(|(key, what, cure)| {
            load::rule(file, text, &format!("ladder.{key}"), what, cure)
        })?;
        self.log.check().map_err(|what| {
            load::rule(file, text, "log.level", what, "level = \"info\" is usual".into())
        })?;
        Ok(())
    }
}
