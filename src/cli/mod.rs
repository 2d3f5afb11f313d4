//! The command line: one file a command. Arguments are parsed first, resources built second.

use clap::{Parser, Subcommand};
use std::process::ExitCode;

pub mod config;
pub mod demo;
pub mod load;
pub mod plan;
pub mod serve;
pub mod teacher;
pub mod token;
pub mod transcode;

/// A live class in by WebRTC, out as Low-Latency HLS in H.264 and AV1.
#[derive(Debug, Parser)]
#[command(name = "proscenium", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the appliance until SIGTERM.
    Serve(serve::Args),
    /// Run the appliance with a synthetic class, and say where to watch it.
    Demo(demo::Args),
    /// The synthetic teacher: publish or record its class, measure an output that carries it.
    #[command(subcommand)]
    Teacher(teacher::Command),
    /// Put load on a server, and measure what it costs.
    #[command(subcommand)]
    Load(load::Command),
    /// Sign a bearer token, or make a key pair.
    Token(token::Args),
    /// Show which rungs this box would encode, and why.
    Plan(plan::PlanArgs),
    /// Check or show the configuration.
    #[command(subcommand)]
    Config(config::Command),
    /// The transcoder of one room (started by the daemon), or of a recorded class.
    Transcode(transcode::Args),
}

/// Parses the arguments and runs the command; errors are printed, with their causes, for people.
pub fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Token(args) => token::run(args),
        Command::Demo(args) => demo::run(args),
        Command::Teacher(command) => teacher::run(command),
        Command::Load(command) => load::run(command),
        Command::Serve(args) => serve::run(args),
        Command::Plan(args) => plan::run(&args),
        Command::Config(command) => config::run(command),
        Command::Transcode(args) => transcode::run(args),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
