use super::*;
use crate::testing::{call, context};
use nix::{sys::stat::Mode, unistd::mkfifo};
use serde_json::json;
use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read},
    os::unix::fs::symlink,
};
use tempfile::TempDir;
use tokio::sync::oneshot;

fn exec(options: ExecOptions) -> Exec {
    Exec::new(options, Arc::from([]))
}

fn with_timeout(timeout: Duration) -> Exec {
    exec(ExecOptions { timeout, ..ExecOptions::default() })
}

fn workspace() -> (TempDir, ToolContext) {
    let directory = TempDir::new().unwrap();
    let context = context(directory.path());
    (directory, context)
}

/// Tells that a command runs (it wrote a line into the pipe) and that all its processes are gone (the pipe ended).
fn watch(directory: &Path) -> (oneshot::Receiver<()>, oneshot::Receiver<()>) {
    let pipe = directory.join("pipe");
    mkfifo(&pipe, Mode::from_bits_truncate(0o600)).unwrap();
    let (runs, running) = oneshot::channel();
    let (ends, ended) = oneshot::channel();
    std::thread::spawn(move || {
        let mut reader = BufReader::new(File::open(pipe).unwrap());
        reader.read_line(&mut String::new()).unwrap();
        runs.send(()).unwrap();
        reader.read_to_end(&mut Vec::new()).unwrap();
        ends.send(()).unwrap();
    });
    (running, ended)
}

const FAMILY: &str = "exec 9> pipe; echo up >&9; sh -c 'sleep 1000 & sleep 1000' & sleep 1000";

#[tokio::test]
async fn a_command_answers_what_it_prints() {
    let (_directory, context) = workspace();
    let exec = exec(ExecOptions::default());
    assert_eq!(call(&exec, &context, json!({"command": "echo out; echo err >&2"})).await, ToolResult::silent("out\nSTDERR:\nerr\n"));
    let failed = call(&exec, &context, json!({"command": "exit 3"})).await;
    assert!(failed.is_error && failed.for_llm.contains('3'));
    assert!(!call(&exec, &context, json!({"command": "true"})).await.for_llm.is_empty());
    assert_eq!(call(&exec, &context, json!({})).await.for_llm, "command is required");
    assert_eq!(call(&exec, &context, json!({"command": "a\0b"})).await.for_llm, "command contains invalid NUL byte");
}

#[tokio::test]
async fn a_command_sees_a_clean_environment() {
    let (directory, mut context) = workspace();
    context.shell_deny_groups.insert("env_dump".into(), false);
    let exec = exec(ExecOptions { path: "/usr/bin:/bin".into(), ..ExecOptions::default() });
    let answer = call(&exec, &context, json!({"command": "env"})).await.for_llm;
    let mut names: Vec<_> = answer.lines().filter_map(|line| line.split_once('=')).collect();
    names.sort_unstable();
    let home = directory.path().canonicalize().unwrap();
    names.retain(|(name, _)| !["PWD", "OLDPWD", "SHLVL", "_"].contains(name));
    assert_eq!(names, [("HOME", home.to_str().unwrap()), ("LANG", "C.UTF-8"), ("PATH", "/usr/bin:/bin"), ("TERM", "dumb"), ("TZ", "UTC")]);
}

#[tokio::test]
async fn a_command_runs_in_the_workspace_or_below() {
    let (directory, context) = workspace();
    fs::create_dir(directory.path().join("sub")).unwrap();
    symlink("/etc", directory.path().join("out")).unwrap();
    let exec = exec(ExecOptions::default());
    let home = directory.path().canonicalize().unwrap();
    assert_eq!(call(&exec, &context, json!({"command": "pwd"})).await.for_llm.trim(), home.to_str().unwrap());
    assert_eq!(call(&exec, &context, json!({"command": "pwd", "working_dir": "sub"})).await.for_llm.trim(), home.join("sub").to_str().unwrap());
    for directory in ["..", "/etc", "out", "none"] {
        assert!(call(&exec, &context, json!({"command": "pwd", "working_dir": directory})).await.is_error, "{directory}");
    }
}

#[tokio::test]
async fn a_timeout_ends_the_whole_family() {
    let (directory, context) = workspace();
    let (running, ended) = watch(directory.path());
    let exec = with_timeout(Duration::from_secs(2));
    let answer = call(&exec, &context, json!({"command": format!("echo begun; {FAMILY}")})).await;
    assert!(answer.is_error && answer.for_llm.starts_with("command timed out after 2s") && answer.for_llm.contains("begun"), "{}", answer.for_llm);
    running.await.unwrap();
    ended.await.unwrap();
}

#[tokio::test]
async fn an_aborted_call_ends_the_whole_family() {
    let (directory, context) = workspace();
    let (running, ended) = watch(directory.path());
    let task = tokio::spawn(async move { call(&with_timeout(Duration::from_secs(600)), &context, json!({"command": FAMILY})).await });
    running.await.unwrap();
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    ended.await.unwrap();
}

#[tokio::test]
async fn what_is_left_in_the_background_ends_with_the_command() {
    let (directory, context) = workspace();
    let (running, ended) = watch(directory.path());
    let answer = call(&with_timeout(Duration::from_secs(600)), &context, json!({"command": "exec 9> pipe; echo up >&9; sleep 1000 & echo done"})).await;
    assert_eq!(answer, ToolResult::silent("done\n"));
    running.await.unwrap();
    ended.await.unwrap();
}

#[tokio::test]
async fn endless_output_is_neither_kept_nor_waited_for() {
    let (_directory, context) = workspace();
    let exec = exec(ExecOptions { capture_limit: 1_000, ..ExecOptions::default() });
    let answer = call(&exec, &context, json!({"command": "head -c 5000000 /dev/zero | tr '\\0' x"})).await;
    assert!(!answer.is_error && answer.for_llm.contains("first 1000 of 5000000 bytes") && answer.for_llm.len() < 1_200);
}

#[tokio::test]
async fn denied_commands_do_not_run() {
    let (directory, context) = workspace();
    let tool = exec(ExecOptions::default());
    let denied = call(&tool, &context, json!({"command": "touch ran; sudo ls"})).await;
    assert!(denied.is_error && denied.for_llm.starts_with("command denied by safety policy: matches pattern "));
    let installation = call(&tool, &context, json!({"command": "touch ran; pip install x"})).await;
    assert!(installation.is_error && installation.for_llm.contains("administrator"));
    let approval = Arc::new(RwLock::new(ExecApproval { security: Security::Full, ask: Ask::OnMiss, allowlist: vec![] }));
    let asking = exec(ExecOptions { approval, ..ExecOptions::default() });
    let unapproved = call(&asking, &context, json!({"command": "touch ran"})).await;
    assert!(unapproved.is_error && unapproved.for_llm.contains("approval"));
    assert!(!directory.path().join("ran").exists());
}
