//! `proscenium config`: what the configuration says, and what is wrong with it.

use crate::config::Config;
use anyhow::Result;
use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Where the configuration is read from; shared by every command that needs one.
#[derive(Clone, Debug, Default, Args)]
pub struct Source {
    /// Configuration file [default: /etc/proscenium/proscenium.toml where it exists]
    #[arg(long, env = "PROSCENIUM_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// `proscenium config ...`
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Read the file and the environment and say what is wrong, where, and how to put it right.
    Check {
        /// Which configuration.
        #[command(flatten)]
        source: Source,
        /// Print the complaints as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the configuration in force, defaults included, as TOML.
    Show {
        /// Which configuration.
        #[command(flatten)]
        source: Source,
        /// Print it as JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command.
pub fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Check { source, json } => Ok(check(&source, json)),
        Command::Show { source, json } => {
            let loaded = Config::load(source.config.as_deref())?;
            if json {
                println!("{}", serde_json::to_string_pretty(&loaded.config)?);
            } else {
                print!("{}", toml::to_string(&loaded.config)?);
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn check(source: &Source, json: bool) -> ExitCode {
    let (file, complaint) = match Config::load(source.config.as_deref()) {
        Ok(loaded) => (loaded.file, None),
        Err(complaint) => (complaint.file.clone(), Some(complaint)),
    };
    if json {
        let report =
            serde_json::json!({ "file": file, "complaints": complaint.iter().collect::<Vec<_>>() });
        println!("{report:#}");
    } else {
        match &complaint {
            Some(complaint) => eprintln!("{complaint}"),
            None => println!("{file}: no mistakes found"),
        }
    }
    if complaint.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
