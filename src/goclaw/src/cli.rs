//! The command line.

mod accounts;
mod agents;
mod api_keys;
mod archives;
mod backup;
mod chat;
mod claude_hook;
mod client;
mod configuration;
mod doctor;
mod exit;
mod files;
mod heartbeats;
mod keys;
mod logs;
mod migrate;
mod onboard;
mod pairing;
mod print;
mod restore;
mod sessions;
mod socket;
mod tenants;
mod traces;
mod tts;
mod usage;

use crate::{
    config::{Config, environment::Environment},
    log, run,
};
use anyhow::Result;
use clap::{CommandFactory, Parser, Subcommand};
use std::{io, path::PathBuf, process::ExitCode};

/// The version of the WebSocket protocol.
const PROTOCOL: u32 = 3;

/// What `--help` says at its end.
const AFTER_HELP: &str = "Exit codes: 0 done, 1 failed, 2 the arguments make no sense, 3 no gateway could be reached, 4 refused or not found.
Commands that change data talk to the running gateway; its token is GOCLAW_TOKEN, else the configured one.";

/// Multi-tenant gateway for AI agents. Without a command it runs the gateway.
#[derive(Parser)]
#[command(name = "goclaw", version = concat!(env!("CARGO_PKG_VERSION"), " (protocol 3)"), arg_required_else_help = false, after_help = AFTER_HELP)]
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
    /// The configuration
    #[command(subcommand)]
    Config(configuration::Command),
    /// Agents: make them, and talk to them
    #[command(subcommand)]
    Agent(AgentCommand),
    /// The models that the configuration names
    #[command(subcommand)]
    Models(configuration::List),
    /// The messaging channels that the configuration names
    #[command(subcommand)]
    Channels(configuration::List),
    /// Conversations
    #[command(subcommand)]
    Sessions(sessions::Command),
    /// What agents look after by themselves
    #[command(subcommand)]
    Heartbeat(heartbeats::Command),
    /// What agents made, and what users sent
    #[command(subcommand)]
    Files(files::Command),
    /// What runs did
    #[command(subcommand)]
    Traces(traces::Command),
    /// What runs took
    Usage(usage::Options),
    /// Text to speech
    #[command(subcommand)]
    Tts(tts::Command),
    /// Browsers and people who ask to be let in
    #[command(subcommand)]
    Pairing(pairing::Command),
    /// Keys to the gateway's API
    #[command(subcommand)]
    ApiKeys(api_keys::Command),
    /// ChatGPT accounts that the gateway is signed in to
    #[command(subcommand)]
    Auth(accounts::Command),
    /// Tenants
    #[command(subcommand)]
    Tenants(tenants::Command),
    /// Show the running gateway's log
    Logs(logs::Options),
    /// The encryption key
    #[command(subcommand)]
    Keys(keys::Command),
    /// Write database and files into one archive; the gateway may run
    Backup(backup::Options),
    /// Put a backup into the place of what is there; the gateway must be stopped
    Restore(restore::Options),
    /// Check the installation; fails if something is wrong
    Doctor {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// The database's schema; it goes forward only
    #[command(subcommand)]
    Migrate(migrate::Command),
    /// Bring the installation up to date; running it again does no harm
    Upgrade(migrate::Upgrade),
    /// Judge whether Claude's command line may use a tool; the gateway's settings for it call this
    #[command(hide = true)]
    ClaudeHook(claude_hook::Options),
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
    /// List agents
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Make an agent
    Add(agents::NewAgent),
    /// Delete an agent
    Delete {
        /// Its id
        id: String,
        /// Do not ask
        #[arg(short = 'y', long, alias = "yes")]
        force: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Chat with an agent; the gateway must run
    Chat(chat::Options),
    /// Write an agent into an archive
    Export(archives::ExportOptions),
    /// Make an agent from an archive
    Import(archives::ImportOptions),
}

/// Runs the command line. The exit codes are those of [`exit`].
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match execute(arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            exit::code(&error).into()
        }
    }
}

fn execute(arguments: Arguments) -> Result<ExitCode> {
    let load = || Config::load(arguments.config.as_deref(), Environment::of_process());
    let config = || quietly(load()?, arguments.verbose);
    match arguments.command {
        None | Some(Command::Serve) => {
            let config = load()?;
            let logs = log::start(&config, arguments.verbose)?;
            run::serve(config, logs)?;
        }
        Some(Command::Onboard(options)) => block_on(onboard::run(config()?, options))?,
        Some(Command::Config(command)) => return block_on(configuration::run(load(), command)),
        Some(Command::Agent(AgentCommand::List { json })) => block_on(agents::list(&config()?, json))?,
        Some(Command::Agent(AgentCommand::Add(new))) => block_on(agents::add(&config()?, new))?,
        Some(Command::Agent(AgentCommand::Delete { id, force, json })) => block_on(agents::delete(&config()?, &id, force, json))?,
        Some(Command::Agent(AgentCommand::Chat(options))) => block_on(chat::run(&config()?, options))?,
        Some(Command::Agent(AgentCommand::Export(options))) => block_on(archives::export(&config()?, options))?,
        Some(Command::Agent(AgentCommand::Import(options))) => block_on(archives::import(&config()?, options))?,
        Some(Command::Models(configuration::List::List { json })) => configuration::models(&config()?, json)?,
        Some(Command::Channels(configuration::List::List { json })) => configuration::channels(&config()?, json)?,
        Some(Command::Sessions(command)) => block_on(sessions::run(&config()?, command))?,
        Some(Command::Heartbeat(command)) => block_on(heartbeats::run(&config()?, command))?,
        Some(Command::Files(command)) => block_on(files::run(&config()?, command))?,
        Some(Command::Traces(command)) => block_on(traces::run(&config()?, command))?,
        Some(Command::Usage(options)) => block_on(usage::run(&config()?, options))?,
        Some(Command::Tts(command)) => block_on(tts::run(&config()?, command))?,
        Some(Command::Pairing(command)) => block_on(pairing::run(&config()?, command))?,
        Some(Command::ApiKeys(command)) => block_on(api_keys::run(&config()?, command))?,
        Some(Command::Auth(command)) => block_on(accounts::run(&config()?, command))?,
        Some(Command::Tenants(command)) => block_on(tenants::run(&config()?, command))?,
        Some(Command::Logs(options)) => block_on(logs::run(&config()?, options))?,
        Some(Command::Keys(command)) => block_on(keys::run(&config()?, command))?,
        Some(Command::Backup(options)) => block_on(backup::run(&config()?, options))?,
        Some(Command::Restore(options)) => block_on(restore::run(&config()?, options))?,
        Some(Command::Doctor { json }) => return block_on(async { Ok(doctor::run(load(), json).await) }),
        Some(Command::Migrate(command)) => block_on(migrate::run(&config()?, command))?,
        Some(Command::Upgrade(options)) => block_on(migrate::upgrade(&config()?, options))?,
        Some(Command::ClaudeHook(options)) => claude_hook::run(options)?,
        Some(Command::Completions { shell }) => clap_complete::generate(shell, &mut Arguments::command(), "goclaw", &mut io::stdout()),
        Some(Command::Version { json: true }) => {
            print::line(&serde_json::json!({"name": "goclaw", "version": env!("CARGO_PKG_VERSION"), "protocol": PROTOCOL}).to_string())?;
        }
        Some(Command::Version { json: false }) => print::line(&format!("goclaw {} (protocol {PROTOCOL})", env!("CARGO_PKG_VERSION")))?,
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
    fn every_command_can_print_json() {
        fn without(command: &clap::Command, path: &str) -> Vec<String> {
            let path = format!("{path} {}", command.get_name());
            if command.has_subcommands() {
                return command.get_subcommands().flat_map(|inner| without(inner, &path)).collect();
            }
            if command.get_arguments().any(|argument| argument.get_id() == "json") { vec![] } else { vec![path] }
        }
        let without: Vec<_> = Arguments::command().get_subcommands().flat_map(|command| without(command, "goclaw")).collect();
        assert_eq!(without, ["goclaw serve", "goclaw onboard", "goclaw claude-hook", "goclaw completions"]);
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
