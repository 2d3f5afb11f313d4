//! `proscenium token`: signs tokens, makes key pairs.

use super::config::Source;
use crate::config::Config;
use crate::link::wire::MAX_NAME;
use crate::rooms::name;
use crate::rooms::token::{self, Grant, Role, Scope, Signer};
use crate::units::Span;
use anyhow::{Context, Result, bail};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// `proscenium token ...`
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  proscenium token --room bar --role teacher --sub alice --name 'Dr Alice Bar' --ttl 4h
  proscenium token --room '*' --role admin --sub operator --ttl 30d --json
  proscenium token --new-key-pair school.pem
  proscenium token --room bar --role viewer --sub carol --private-key school.pem

Without --private-key the token is signed with the secret of the configuration (tokens.secret_file),
which is made when it is missing: run it as the user Proscenium runs as.")]
pub struct Args {
    #[command(flatten)]
    source: Source,
    /// Room the token is for, or '*' for every room.
    #[arg(long, required_unless_present = "new_key_pair")]
    room: Option<Scope>,
    /// What its holder may do.
    #[arg(long, value_enum, required_unless_present = "new_key_pair")]
    role: Option<Role>,
    /// Who holds it: a name or an id. Two connections with the same one are one person.
    #[arg(long, value_name = "NAME", required_unless_present = "new_key_pair")]
    sub: Option<String>,
    /// What the others in the room see, at most 80 bytes.
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// How long it is valid: 30min, 4h, 30d.
    #[arg(long, default_value = "4h", value_parser = Span::parse)]
    ttl: Span,
    /// Sign with this Ed25519 private key (PKCS#8 PEM, EdDSA) in place of the secret.
    #[arg(long, value_name = "FILE")]
    private_key: Option<PathBuf>,
    /// Sign with the secret in this file in place of the configuration's.
    #[arg(long, value_name = "FILE", conflicts_with = "private_key")]
    secret: Option<PathBuf>,
    /// Make an Ed25519 key pair: FILE and FILE.pub. The public half goes into
    /// tokens.public_key_file.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["room", "role", "sub", "name", "private_key", "secret"])]
    new_key_pair: Option<PathBuf>,
    /// Print JSON: the token and what it grants.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// A configuration or key that cannot be read, a time to live of nothing.
pub fn run(args: Args) -> Result<ExitCode> {
    if let Some(path) = &args.new_key_pair {
        let public = token::generate_key_pair(path)?;
        if args.json {
            println!("{}", json!({"private_key": path, "public_key": public}));
        } else {
            println!("private key: {} (keep it to yourself)", path.display());
            println!("public key:  {}", public.display());
            println!("in the configuration of the server: tokens.public_key_file = {public:?}");
        }
        return Ok(ExitCode::SUCCESS);
    }
    let signer = signer(&args)?;
    let grant = grant(&args, token::unix_now())?;
    let text = signer.sign(&grant)?;
    if args.json {
        println!("{}", json!({"token": text, "grant": grant}));
    } else {
        println!("{text}");
    }
    Ok(ExitCode::SUCCESS)
}

fn signer(args: &Args) -> Result<Signer> {
    if let Some(path) = &args.private_key {
        return Ok(Signer::from_private_key_file(path)?);
    }
    if let Some(path) = &args.secret {
        return Ok(Signer::from_secret_file(path)?);
    }
    let config = Config::load(args.source.config.as_deref())?.config;
    let tokens = config.tokens.rooted(Path::new(&config.paths.state));
    let path = tokens.secret_file.context(
        "the configuration has no tokens.secret_file to sign with: give --private-key or --secret",
    )?;
    Ok(Signer::from_secret_file(&path)?)
}

fn grant(args: &Args, now: u64) -> Result<Grant> {
    let (Some(room), Some(role), Some(sub)) = (&args.room, args.role, &args.sub) else {
        bail!("--room, --role and --sub are needed");
    };
    if args.ttl.0.as_secs() == 0 {
        bail!("--ttl {}: a token needs at least a second to be used in", args.ttl);
    }
    if sub.trim().is_empty() {
        bail!("--sub is empty: name who holds the token");
    }
    let exp = now.saturating_add(args.ttl.0.as_secs());
    let name = match args.name.as_deref().map(name::clean) {
        Some(clean) if clean.is_empty() => {
            bail!("--name is empty: leave it out, or say what people shall see")
        }
        Some(clean) if clean.len() < args.name.as_deref().map_or(0, |name| name.trim().len()) => {
            bail!("--name: at most {MAX_NAME} bytes of text on one line, such as '{clean}'")
        }
        name => name,
    };
    Ok(Grant { room: room.clone(), role, sub: sub.clone(), exp, nbf: Some(now), name })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::rooms::token::Verifier;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn parse(words: &[&str]) -> Result<Args, clap::Error> {
        Cli::try_parse_from(std::iter::once(&"token").chain(words)).map(|cli| cli.args)
    }

    #[test]
    fn a_token_says_what_was_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("secret");
        let words =
            ["--room", "bar", "--role", "teacher", "--sub", "alice", "--ttl", "4h", "--secret"];
        let words: Vec<&str> = words.into_iter().chain(secret.to_str()).collect();
        let args = parse(&words).unwrap();
        let grant = grant(&args, 1_000).unwrap();
        assert_eq!((grant.exp, grant.nbf), (1_000 + 4 * 3600, Some(1_000)));
        let text = signer(&args).unwrap().sign(&grant).unwrap();
        let config = token::Config { secret_file: Some(secret), ..token::Config::default() };
        assert_eq!(Verifier::open(&config).unwrap().verify(&text, 1_000), Ok(grant));
    }

    #[test]
    fn half_a_request_is_refused_with_the_missing_half() {
        let error = parse(&["--room", "bar", "--role", "teacher"]).unwrap_err().to_string();
        assert!(error.contains("--sub"), "{error}");
        let error = parse(&["--room", "No Room", "--role", "teacher", "--sub", "a"]);
        assert!(error.unwrap_err().to_string().contains("no room name"));
        let error =
            parse(&["--room", "a", "--role", "king", "--sub", "a"]).unwrap_err().to_string();
        assert!(error.contains("teacher"), "{error}");
        let args = parse(&["--room", "a", "--role", "viewer", "--sub", " "]).unwrap();
        assert!(grant(&args, 0).unwrap_err().to_string().contains("--sub"));
        let args =
            parse(&["--room", "a", "--role", "viewer", "--sub", "b", "--ttl", "0 s"]).unwrap();
        assert!(grant(&args, 0).unwrap_err().to_string().contains("--ttl"));
    }

    #[test]
    fn a_name_is_what_people_will_see_or_is_refused() {
        let named = |name: &str| {
            let args = parse(&["--room", "a", "--role", "viewer", "--sub", "b", "--name", name]);
            grant(&args.unwrap(), 0).map(|grant| grant.name)
        };
        assert_eq!(named(" Bar Foo ").unwrap().as_deref(), Some("Bar Foo"));
        let long = named(&"ä".repeat(41)).unwrap_err().to_string();
        assert!(long.contains("--name") && long.contains("80 bytes"), "{long}");
        assert!(named("a\u{202e}b").unwrap_err().to_string().contains("'ab'"));
        assert!(named(" \n ").unwrap_err().to_string().contains("leave it out"));
    }

    #[test]
    fn a_new_key_pair_signs() {
        let folder = tempfile::tempdir().unwrap();
        let private = folder.path().join("school.pem");
        let args = parse(&["--new-key-pair", private.to_str().unwrap()]).unwrap();
        run(args).unwrap();
        let words = ["--room", "*", "--role", "admin", "--sub", "root", "--private-key"];
        let words: Vec<&str> = words.into_iter().chain(private.to_str()).collect();
        let args = parse(&words).unwrap();
        let grant = grant(&args, 1_000).unwrap();
        let text = signer(&args).unwrap().sign(&grant).unwrap();
        let config = token::Config {
            secret_file: None,
            public_key_file: Some(private.with_extension("pem.pub")),
            ..token::Config::default()
        };
        assert_eq!(Verifier::open(&config).unwrap().verify(&text, 1_000), Ok(grant));
    }
}
