//! Who is logged in at Claude's command line.

use crate::{ProgramsOptions, environment, program};
use goclaw_ports::llm::CliAccount;
use goclaw_process::{End, run};
use serde::Deserialize;
use std::time::Duration;
use tokio::process::Command;

/// How long the program may take to tell.
const LIMIT: Duration = Duration::from_secs(10);
/// How much of its output is read, in bytes.
const OUTPUT: usize = 64 << 10;
/// How much of a failure is told, in characters.
const TOLD: usize = 300;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    #[serde(default)]
    logged_in: bool,
    email: Option<String>,
    subscription_type: Option<String>,
}

/// Asks the program `name` (a path, or a name in `PATH`).
///
/// # Errors
/// Why it does not tell, in words.
pub async fn auth_status(name: &str, options: &ProgramsOptions) -> Result<CliAccount, String> {
    let program = program(name, options).map_err(|error| error.message.to_string())?;
    let mut command = Command::new(program);
    command.args(["auth", "status", "--json"]).env_clear().envs(environment::of_claude(&options.environment));
    let ended = run(&mut command, b"", LIMIT, OUTPUT).await;
    let told = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().chars().take(TOLD).collect::<String>();
    match (&ended.end, serde_json::from_slice::<Answer>(&ended.stdout.kept)) {
        // Nobody being logged in may well be a failure for the program.
        (End::Success | End::Failure(_), Ok(answer)) => Ok(CliAccount {
            logged_in: answer.logged_in,
            email: answer.email.unwrap_or_default(),
            subscription_type: answer.subscription_type.unwrap_or_default(),
        }),
        (End::Success, Err(error)) => Err(format!("its answer cannot be read: {error}")),
        (End::Failure(how), Err(_)) => Err(format!("{how}: {}", told(if ended.stderr.kept.is_empty() { &ended.stdout.kept } else { &ended.stderr.kept }))),
        (End::Timeout(after), _) => Err(format!("it took longer than {after:?}")),
        (End::NotStarted(why), _) => Err(format!("it cannot be started: {why}")),
    }
}
