//! The command line.

mod chat;
mod client;
mod doctor;
mod migrate;
mod onboard;
mod socket;

use crate::{
    config::{Config, environment::Environment},
    log, run,
};
use anyhow::Result;
use clap::{CommandFactory, Parser, Subcommand};
use std::{io, path::PathBuf, process::ExitCode};

/// The version of the WebSocket protocol.
const PROTOCOL: u32 = 3;

/// Multi-tenant gateway for AI agents. Without a command it runs the gateway.
#[derive(Parser)]
#[command(name = "goclaw", version = concat!(env!("CARGO_PKG_VERSION"), " (protocol 3)"), arg_required_else_help = false)]
struct Arguments {
    /// Configuration file (JSON5) [default: $GOCLAW_CONFIG, else config.json]
    #[arg(long, global = true, value_name = "PATH")]
    config: Option<PathBuf>,
    /// Log more
    #[arg(short, long, global = true)]
    verbose: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gateway
    Serve,
    /// Set up a provider, its key and a first agent
    Onboard(onboard::Options),
    /// Talk to agents
    #[command(subcommand)]
    Agent(AgentCommand),
    /// Check the installation; fails if something is wrong
    Doctor {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// The database's schema
    #[command(subcommand)]
    Migrate(migrate::Command),
    /// Print a shell's completion script
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the version
    Version {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Subcommand)]
enum AgentCommand {
    /// Chat with an agent; the gateway must run
    Chat(chat::Options),
}

/// Runs the command line: 0 if all went well, 1 if not, 2 for arguments that make no sense.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match execute(arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(arguments: Arguments) -> Result<ExitCode> {
    let load = || Config::load(arguments.config.as_deref(), Environment::of_process());
    match arguments.command {
        None | Some(Command::Serve) => {
            let config = load()?;
            log::start(&config, arguments.verbose)?;
            run::serve(config)?;
        }
        Some(Command::Onboard(options)) => block_on(onboard::run(quietly(load()?, arguments.verbose)?, options))?,
        Some(Command::Agent(AgentCommand::Chat(options))) => block_on(chat::run(&quietly(load()?, arguments.verbose)?, options))?,
        Some(Command::Doctor { json }) => return block_on(async { Ok(doctor::run(load(), json).await) }),
        Some(Command::Migrate(command)) => block_on(migrate::run(&quietly(load()?, arguments.verbose)?, command))?,
        Some(Command::Completions { shell }) => clap_complete::generate(shell, &mut Arguments::command(), "goclaw", &mut io::stdout()),
        Some(Command::Version { json: true }) => {
            println!("{}", serde_json::json!({"name": "goclaw", "version": env!("CARGO_PKG_VERSION"), "protocol": PROTOCOL}))
        }
        Some(Command::Version { json: false }) => println!("goclaw {} (protocol {PROTOCOL})", env!("CARGO_PKG_VERSION")),
    }
    Ok(ExitCode::SUCCESS)
}

/// Starts the log only if it was asked for: commands answer on their own.
fn quietly(config: Config, verbose: bool) -> Result<Config> {
    if verbose {
        log::start(&config, true)?;
    }
    Ok(config)
}

fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    run::install_tls();
    let runtime = run::runtime()?;
    let done = runtime.block_on(work);
    // A thread that waits for the keyboard must not hold the process.
    runtime.shutdown_background();
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn global_flags_stand_before_and_after_the_command() {
        for line in [["goclaw", "--config", "x.json", "doctor"], ["goclaw", "doctor", "--config", "x.json"]] {
            assert_eq!(Arguments::try_parse_from(line).unwrap_or_else(|_| panic!("{line:?}")).config, Some(PathBuf::from("x.json")));
        }
    }

    #[test]
    fn what_is_unknown_is_a_usage_error() {
        for line in [vec!["goclaw", "frobnicate"], vec!["goclaw", "completions", "dos"], vec!["goclaw", "migrate"]] {
            assert_eq!(Arguments::try_parse_from(line).err().map(|error| error.exit_code()), Some(2));
        }
    }
}
