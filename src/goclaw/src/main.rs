//! The `goclaw` binary: command line, configuration, and which adapter stands behind which port.

mod cli;
mod config;
mod log;
mod memory;
mod run;

fn main() -> std::process::ExitCode {
    memory::give_large_blocks_back();
    cli::main()
}
