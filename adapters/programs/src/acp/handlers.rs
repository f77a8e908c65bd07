//! What an agent asks for: files, commands, permission.

use super::{
    permission::Mode,
    terminals::{Exit, Terminals},
    wire::Failure,
};
use crate::{Ground, environment, offered::Offered};
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::process::Command;

/// The programs that an agent may run, by the last part of their path.
const PROGRAMS: &[&str] = &[
    "sh", "bash", "zsh", "fish", "node", "python", "python3", "ruby", "perl", "go", "cargo", "rustc", "gcc", "g++", "make", "git", "ls", "cat", "head", "tail",
    "grep", "rg", "find", "wc", "sort", "uniq", "diff", "patch", "mkdir", "cp", "mv", "touch", "echo", "printf", "env", "which", "whoami", "npm", "npx",
    "pnpm", "yarn", "bun", "pip", "pip3", "uv", "pipx", "docker", "kubectl", "curl", "wget", "jq", "yq", "tar", "gzip", "unzip", "sed", "awk", "xargs", "tee",
    "tr", "cut", "test", "true", "false",
];

/// What one agent may do, and what it does.
pub struct Handlers {
    ground: Arc<dyn Ground>,
    root: PathBuf,
    mode: Mode,
    environment: Vec<(String, String)>,
    /// What the run that is under way offers.
    offered: Mutex<Offered>,
    /// Whether the agent speaks the published dialect.
    published: AtomicBool,
    terminals: Terminals,
}

impl Handlers {
    pub fn new(ground: Arc<dyn Ground>, root: PathBuf, mode: Mode, environment: Vec<(String, String)>) -> Self {
        let (offered, published) = (Mutex::new(Offered::of(&[])), AtomicBool::new(true));
        Self { ground, root, mode, environment, offered, published, terminals: Terminals::default() }
    }

    /// The next run offers this.
    pub fn offer(&self, offered: Offered) {
        *self.offered.lock().unwrap_or_else(PoisonError::into_inner) = offered;
    }

    /// The agent speaks the published dialect, or not.
    pub fn speak(&self, published: bool) {
        self.published.store(published, Ordering::Relaxed);
    }

    fn offered(&self) -> Offered {
        *self.offered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what is asked for.
    pub async fn handle(&self, method: &str, params: &Value) -> Result<Value, Failure> {
        match method {
            "fs/readTextFile" | "fs/read_text_file" => self.read(params).await,
            "fs/writeTextFile" | "fs/write_text_file" => self.write(params).await,
            "terminal/create" => self.create(params).await,
            "terminal/output" => self.output(params),
            "terminal/waitForExit" | "terminal/wait_for_exit" => {
                let exit = self.terminals.wait(text(params, "terminalId")?).await?;
                Ok(if self.is_published() { published_exit(exit) } else { json!({"exitStatus": exit_status(exit)}) })
            }
            "terminal/kill" => {
                if !self.mode.kills() {
                    return Err(denied("ending commands"));
                }
                self.terminals.kill(text(params, "terminalId")?).map(|()| json!({}))
            }
            "terminal/release" => {
                self.terminals.release(text(params, "terminalId")?);
                Ok(json!({}))
            }
            "permission/request" => {
                let approved = self.mode.uses(params["toolName"].as_str().unwrap_or_default());
                Ok(json!({"outcome": if approved { "approved" } else { "denied" }}))
            }
            "session/request_permission" => Ok(self.choose(params)),
            other => Err(Failure::unknown(other)),
        }
    }

    fn is_published(&self) -> bool {
        self.published.load(Ordering::Relaxed)
    }

    /// Does `work` in the agent's directory, on a thread that may wait for the disk.
    async fn on_disk<T: Send + 'static>(&self, work: impl FnOnce(&dyn Ground, &Path) -> Result<T, String> + Send + 'static) -> Result<T, Failure> {
        let (ground, root) = (self.ground.clone(), self.root.clone());
        let done = tokio::task::spawn_blocking(move || work(&*ground, &root)).await;
        done.map_err(|_| Failure { code: -32_603, message: "internal error".into() })?.map_err(Failure::failed)
    }

    async fn read(&self, params: &Value) -> Result<Value, Failure> {
        if !self.mode.reads() || !self.offered().read {
            return Err(denied("reading files"));
        }
        let path = text(params, "path")?.to_owned();
        let bytes = self.on_disk(move |ground, root| ground.read(root, &path)).await?;
        let content = String::from_utf8(bytes).map_err(|_| Failure::failed("the file is no text"))?;
        let number = |key: &str| params[key].as_u64().and_then(|number| usize::try_from(number).ok());
        let content = match (number("line"), number("limit")) {
            (None, None) => content,
            (line, limit) => content.split_inclusive('\n').skip(line.unwrap_or(1).saturating_sub(1)).take(limit.unwrap_or(usize::MAX)).collect(),
        };
        Ok(json!({"content": content}))
    }

    async fn write(&self, params: &Value) -> Result<Value, Failure> {
        if !self.mode.writes() || !self.offered().write {
            return Err(denied("writing files"));
        }
        let (path, content) = (text(params, "path")?.to_owned(), text(params, "content")?.to_owned());
        self.on_disk(move |ground, root| ground.write(root, &path, content.as_bytes())).await?;
        Ok(json!({}))
    }

    async fn create(&self, params: &Value) -> Result<Value, Failure> {
        if !self.mode.runs() || !self.offered().run {
            return Err(denied("running commands"));
        }
        let program = text(params, "command")?;
        let arguments: Vec<&str> = params["args"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let name = program.rsplit('/').next().unwrap_or_default();
        if !PROGRAMS.contains(&name) || program.contains('\0') || arguments.iter().any(|argument| argument.contains('\0')) {
            return Err(Failure::failed(format!("the program {name} is not allowed")));
        }
        let line = std::iter::once(program).chain(arguments.iter().copied()).collect::<Vec<_>>().join(" ");
        let directory = params["cwd"].as_str().unwrap_or(".").to_owned();
        let directory = self
            .on_disk(move |ground, root| {
                ground.permit(root, &line)?;
                ground.directory(root, &directory)
            })
            .await?;
        let found = environment::find(program, &self.environment).ok_or_else(|| Failure::failed(format!("the program {name} is not there")))?;
        let mut command = Command::new(found);
        command.args(&arguments).env_clear().envs(self.environment.iter().map(|(name, value)| (name, value))).current_dir(directory);
        let limit = params["outputByteLimit"].as_u64().and_then(|limit| usize::try_from(limit).ok());
        Ok(json!({"terminalId": self.terminals.create(command, limit)?}))
    }

    fn output(&self, params: &Value) -> Result<Value, Failure> {
        let printed = self.terminals.output(text(params, "terminalId")?)?;
        let mut answer = json!({"output": printed.text, "truncated": printed.truncated});
        if let Some(exit) = printed.exit {
            answer["exitStatus"] = if self.is_published() { published_exit(exit) } else { exit_status(exit) };
        }
        Ok(answer)
    }

    /// Chooses among the answers that the agent offers: once rather than always.
    fn choose(&self, params: &Value) -> Value {
        let call = &params["toolCall"];
        let looks = matches!(call["kind"].as_str(), Some("read" | "search"));
        let allowed = self.mode.uses(call["title"].as_str().unwrap_or_default()) || (looks && self.mode.reads());
        let wanted = if allowed { ["allow_once", "allow_always"] } else { ["reject_once", "reject_always"] };
        let options = params["options"].as_array().map_or(&[][..], Vec::as_slice);
        let option = wanted.iter().find_map(|kind| options.iter().find(|option| option["kind"] == *kind));
        match option.and_then(|option| option["optionId"].as_str()) {
            Some(id) => json!({"outcome": {"outcome": "selected", "optionId": id}}),
            None => json!({"outcome": {"outcome": "cancelled"}}),
        }
    }
}

fn denied(what: &str) -> Failure {
    Failure::failed(format!("permission denied: {what} is not allowed here"))
}

fn text<'p>(params: &'p Value, key: &str) -> Result<&'p str, Failure> {
    params[key].as_str().ok_or_else(|| Failure { code: -32_602, message: format!("{key} is required") })
}

/// A number as a shell has it: a signal counts from 128.
fn exit_status(exit: Exit) -> Value {
    exit.code.or(exit.signal.map(|signal| 128 + signal)).map_or(Value::Null, Value::from)
}

fn published_exit(exit: Exit) -> Value {
    json!({"exitCode": exit.code, "signal": exit.signal.map(|signal| signal.to_string())})
}
