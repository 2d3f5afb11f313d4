//! Reads a TOML file and the environment into any configuration type, and says what is wrong in
//! the terms of the person who wrote it: which file, which line, which key, and the cure.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use toml::{Table, Value};

/// A complaint about a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Complaint {
    /// The file, or `environment`.
    pub file: String,
    /// Line in the file, from 1.
    pub line: Option<usize>,
    /// Dotted key, such as `media.port`, where one is to blame.
    pub key: Option<String>,
    /// What is wrong.
    pub what: String,
    /// How to put it right.
    pub cure: Option<String>,
    /// The line as it stands in the file.
    #[serde(skip)]
    pub excerpt: Option<String>,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        f.write_str(": ")?;
        if let Some(key) = &self.key {
            write!(f, "`{key}`: ")?;
        }
        f.write_str(&self.what)?;
        if let (Some(line), Some(excerpt)) = (self.line, &self.excerpt) {
            write!(f, "\n  {line:>4} | {excerpt}")?;
        }
        if let Some(cure) = &self.cure {
            write!(f, "\n  cure: {cure}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Complaint {}

/// Reads `text` (of `file`) and lays `environment` (names without the `PROSCENIUM_` prefix) over it.
///
/// A variable `MEDIA_PORT` sets key `port` of section `[media]`. Its value is read as TOML where
/// that works and as a plain string otherwise, so `8189`, `true` and `250 ms` all mean what they say.
/// Variables whose first word is no section of `T` are not ours and are left alone.
///
/// # Errors
/// The first complaint found.
pub fn load<T>(
    file: &str,
    text: &str,
    environment: &[(String, String)],
) -> Result<T, Box<Complaint>>
where
    T: DeserializeOwned + Serialize + Default,
{
    // The file by itself first: its errors carry line numbers, which a merged table has lost.
    let from_file: T = toml::from_str(text).map_err(|error| explain(file, text, &error))?;
    let sections = section_names::<T>();
    let overrides: Vec<_> = environment
        .iter()
        .filter_map(|(name, value)| override_of(name, value, &sections))
        .collect();
    if overrides.is_empty() {
        return Ok(from_file);
    }
    let mut merged: Table = text.parse().map_err(|error| explain(file, text, &error))?;
    for change in overrides {
        let section = merged.entry(change.section).or_insert_with(|| Value::Table(Table::new()));
        if let Value::Table(section) = section {
            section.insert(change.key.clone(), change.value);
        }
        if let Err(error) = merged.clone().try_into::<T>() {
            return Err(Box::new(Complaint {
                file: "environment".into(),
                line: None,
                key: Some(format!("PROSCENIUM_{}", change.name)),
                cure: suggestion(error.message()),
                what: plain(error.message()),
                excerpt: None,
            }));
        }
    }
    merged.try_into().map_err(|error: toml::de::Error| explain(file, text, &error))
}

/// A complaint about a key that parsed, but breaks a rule; finds the key's line in `text`.
pub fn rule(file: &str, text: &str, key: &str, what: String, cure: String) -> Box<Complaint> {
    let line = line_of(text, key);
    Box::new(Complaint {
        file: file.into(),
        line,
        key: Some(key.into()),
        what,
        cure: Some(cure),
        excerpt: line.and_then(|n| excerpt(text, n)),
    })
}

struct Override {
    name: String,
    section: String,
    key: String,
    value: Value,
}

fn override_of(name: &str, value: &str, sections: &[String]) -> Option<Override> {
    let lower = name.to_ascii_lowercase();
    let (section, key) = lower.split_once('_')?;
    if !sections.iter().any(|known| known == section) {
        return None;
    }
    let value = format!("value = {value}")
        .parse::<Table>()
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| Value::String(value.to_owned()));
    Some(Override { name: name.to_owned(), section: section.into(), key: key.into(), value })
}

/// The tables of a default `T`.
fn section_names<T: Serialize + Default>() -> Vec<String> {
    match Value::try_from(T::default()) {
        Ok(Value::Table(table)) => {
            table.into_iter().filter(|(_, value)| value.is_table()).map(|(name, _)| name).collect()
        }
        _ => Vec::new(),
    }
}

fn explain(file: &str, text: &str, error: &toml::de::Error) -> Box<Complaint> {
    let line = error.span().map(|span| {
        let upto = text.get(..span.start).unwrap_or(text);
        upto.bytes().filter(|b| *b == b'\n').count() + 1
    });
    Box::new(Complaint {
        file: file.into(),
        line,
        key: None,
        what: plain(error.message()),
        cure: suggestion(error.message()),
        excerpt: line.and_then(|n| excerpt(text, n)),
    })
}

fn excerpt(text: &str, line: usize) -> Option<String> {
    text.lines().nth(line.checked_sub(1)?).map(|line| line.trim_end().chars().take(120).collect())
}

/// serde's words, in ours.
fn plain(message: &str) -> String {
    let first = message.lines().next().unwrap_or(message);
    match first.split_once(", expected one of") {
        Some((what, _)) => what.replace("unknown field", "unknown key"),
        None => match first.split_once(", expected `") {
            Some((what, _)) if what.starts_with("unknown") => {
                what.replace("unknown field", "unknown key")
            }
            _ => first.to_owned(),
        },
    }
}

/// For an unknown key or value: the nearest known one, or all of them.
fn suggestion(message: &str) -> Option<String> {
    let (what, known) = message.split_once(", expected ")?;
    if !what.starts_with("unknown") {
        return None;
    }
    let written = what.split('`').nth(1)?;
    let known: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
    let nearest = known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(written, name), *name))
        .min()
        .filter(|(distance, name)| *distance <= 1 + name.len() / 3);
    Some(match nearest {
        Some((_, name)) => format!("did you mean `{name}`?"),
        None => format!("known here: {}", known.join(", ")),
    })
}

/// The line on which dotted `key` is set, in the usual layout of `[section]` and `key = value`.
fn line_of(text: &str, key: &str) -> Option<usize> {
    let (section, name) = key.rsplit_once('.').unwrap_or(("", key));
    let mut current = String::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(head) = line.strip_prefix('[') {
            current = head.trim_start_matches('[').split(']').next().unwrap_or("").trim().into();
        } else if current == section
            && line.split('=').next().is_some_and(|left| left.trim() == name)
        {
            return Some(index + 1);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::units::Span;
    use serde::Deserialize;

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Example {
        media: Media,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Media {
        port: u16,
        patience: Span,
    }

    impl Default for Media {
        fn default() -> Self {
            Self { port: 8189, patience: Span::secs(3) }
        }
    }

    fn load(text: &str, env: &[(&str, &str)]) -> Result<Example, Box<Complaint>> {
        let env: Vec<_> = env.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        super::load("box.toml", text, &env)
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_nearest_known_one() {
        let error = load("# hello\n[media]\nprot = 1\n", &[]).unwrap_err();
        assert_eq!(error.line, Some(3));
        assert_eq!(error.cure.as_deref(), Some("did you mean `port`?"));
        let shown = error.to_string();
        assert!(shown.starts_with("box.toml:3: unknown key `prot`"), "{shown}");
        assert!(shown.contains("3 | prot = 1"), "{shown}");
    }

    #[test]
    fn a_bare_number_where_a_unit_is_needed_says_what_to_write() {
        let error = load("[media]\nport = 1\npatience = 3\n", &[]).unwrap_err();
        assert_eq!(error.line, Some(3));
        assert!(error.what.contains("250 ms"), "{}", error.what);
    }

    #[test]
    fn the_environment_overrides_the_file_and_other_names_are_left_alone() {
        let config = load(
            "[media]\nport = 1\n",
            &[("MEDIA_PORT", "2"), ("MEDIA_PATIENCE", "5 s"), ("CACHE", "/x"), ("OTHER_X", "1")],
        )
        .unwrap();
        assert_eq!(config, Example { media: Media { port: 2, patience: Span::secs(5) } });
    }

    #[test]
    fn a_mistake_in_the_environment_is_named_as_such() {
        let error = load("", &[("MEDIA_PROT", "2")]).unwrap_err();
        assert_eq!(error.file, "environment");
        assert_eq!(error.key.as_deref(), Some("PROSCENIUM_MEDIA_PROT"));
        let error = load("", &[("MEDIA_PORT", "many")]).unwrap_err();
        assert_eq!(error.key.as_deref(), Some("PROSCENIUM_MEDIA_PORT"));
    }

    #[test]
    fn a_broken_rule_points_at_the_line_of_its_key() {
        let text = "[http]\nport = 1\n\n[media]\nport = 1\n";
        let error = rule("box.toml", text, "media.port", "clash".into(), "move one".into());
        assert_eq!(error.line, Some(5));
    }

    #[test]
    fn broken_toml_is_a_complaint_with_its_line() {
        assert_eq!(load("[media\nport = 1", &[]).unwrap_err().line, Some(1));
    }
}
