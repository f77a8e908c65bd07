//! The `goclaw` binary: command line, configuration, and which adapter stands behind which port.

mod cli;
mod config;
mod log;
mod run;

fn main() -> std::process::ExitCode {
    cli::main()
}
