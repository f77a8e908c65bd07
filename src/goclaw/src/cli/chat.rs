//! `goclaw agent chat`.

use super::{
    client::Gateway,
    exit::refused,
    socket::{Frame, Refusal, Socket},
};
use crate::config::Config;
use anyhow::Result;
use serde_json::{Value, json};
use std::io::{self, BufRead, IsTerminal, Write};
use tokio::sync::mpsc;
use uuid::Uuid;

/// What to say, and to whom.
#[derive(clap::Args)]
pub struct Options {
    /// The agent's key
    #[arg(short, long, default_value = "default")]
    name: String,
    /// Say this and print the answer; without it, a conversation begins
    #[arg(short, long)]
    message: Option<String>,
    /// The session to go on with [default: agent:<name>:cli:direct:local]
    #[arg(short, long, value_name = "KEY")]
    session: Option<String>,
    /// The user to act as
    #[arg(short, long, default_value = "system")]
    user: String,
    /// Print the result as JSON (with --message)
    #[arg(long, requires = "message")]
    json: bool,
}

/// Talks until the user leaves.
///
/// # Errors
/// If the gateway does not run or refuses, or a single message fails.
pub async fn run(config: &Config, options: Options) -> Result<()> {
    let gateway = Gateway::of(config).await?;
    let socket = Socket::connect(&gateway, &options.user).await?;
    let session = options.session.unwrap_or_else(|| format!("agent:{}:cli:direct:local", options.name));
    let mut chat = Conversation { socket, agent: options.name, session, quiet: options.json };
    match options.message {
        Some(message) => {
            let result = chat.say(&message).await.map_err(advise)?;
            if options.json {
                println!("{result}");
            }
            Ok(())
        }
        None => chat.talk().await,
    }
}

struct Conversation {
    socket: Socket,
    agent: String,
    session: String,
    /// Whether only the result is wanted.
    quiet: bool,
}

impl Conversation {
    /// Reads lines and says them, one after another.
    async fn talk(&mut self) -> Result<()> {
        let prompt = io::stdin().is_terminal();
        if prompt {
            eprintln!("Talking to {}. /new starts over; exit leaves.", self.agent);
        }
        let mut lines = lines();
        loop {
            if prompt {
                eprint!("> ");
            }
            let line = tokio::select! {
                line = lines.recv() => line,
                // Read on while the user thinks: the gateway's pings want an answer.
                gone = self.idle() => return Err(gone),
            };
            match line.as_deref().map(str::trim) {
                None | Some("exit" | "quit") => return Ok(()),
                Some("") => (),
                Some("/new") => {
                    let random = Uuid::new_v4().simple().to_string();
                    self.session = format!("agent:{}:cli:direct:{}", self.agent, &random[..8]);
                    eprintln!("A new session: {}", self.session);
                }
                Some(message) => {
                    if let Err(error) = self.say(message).await {
                        if self.socket_gone(&error) {
                            return Err(error);
                        }
                        eprintln!("error: {:#}", advise(error));
                    }
                }
            }
        }
    }

    /// Only a refusal leaves the connection usable.
    fn socket_gone(&self, error: &anyhow::Error) -> bool {
        !error.is::<Refusal>()
    }

    async fn idle(&mut self) -> anyhow::Error {
        loop {
            if let Err(error) = self.socket.next().await {
                return error;
            }
        }
    }

    /// Says one thing, prints the answer as it comes, and returns the result.
    async fn say(&mut self, message: &str) -> Result<Value> {
        let params = json!({"message": message, "agentId": self.agent, "sessionKey": self.session, "stream": true});
        let request = self.socket.send("chat.send", &params).await?;
        let mut printed = false;
        loop {
            match self.socket.next().await? {
                Frame::Response { id, result } if id == request => {
                    let result = result?;
                    self.finish(&result, printed)?;
                    return Ok(result);
                }
                Frame::Event { name, payload } if name == "agent" && !self.quiet && payload["sessionKey"] == self.session.as_str() => {
                    printed |= show(&payload)?;
                }
                Frame::Response { .. } | Frame::Event { .. } => (),
            }
        }
    }

    fn finish(&self, result: &Value, printed: bool) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match result["content"].as_str() {
            _ if self.quiet => Ok(()),
            Some(content) if !printed => writeln!(out, "{content}"),
            Some(_) => writeln!(out),
            None if result["injected"] == true => writeln!(out, "(added to the run that is under way)"),
            None => writeln!(out, "(cancelled)"),
        }
    }
}

/// Prints what an event says; `true` if it was text of the answer.
fn show(event: &Value) -> io::Result<bool> {
    match event["type"].as_str() {
        Some("chunk") => {
            let mut out = io::stdout().lock();
            write!(out, "{}", event["payload"]["content"].as_str().unwrap_or_default())?;
            out.flush()?;
            Ok(true)
        }
        Some("tool.call") => {
            eprintln!("\n[{} …]", event["payload"]["name"].as_str().unwrap_or("tool"));
            Ok(false)
        }
        Some("tool.result") if event["payload"]["is_error"] == true => {
            eprintln!("[{} failed]", event["payload"]["name"].as_str().unwrap_or("tool"));
            Ok(false)
        }
        _ => Ok(false),
    }
}

/// Adds what to do about an agent that is not there.
fn advise(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<Refusal>() {
        Some(refusal) if refusal.code == "NOT_FOUND" => refused(format!("{refusal}; `goclaw onboard` makes one that is called default")),
        _ => error,
    }
}

/// The lines of standard input.
fn lines() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                break;
            }
        }
    });
    receiver
}
