//! Providers that are programs of the gateway's machine: `claude_cli` and `acp`.

use crate::common::{Tenants, create_agent_with, fox_session, message};
use goclaw_tests::{Edition, Setup, eventually};
use serde_json::{Value, json};
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Claude's command line: tells how it was called, and what its hooks say to the question in the message.
const CLAUDE: &str = r#"#!/usr/bin/env python3
import json, os, subprocess, sys
home = os.environ["HOME"]
words = sys.argv[1:]
if words == ["auth", "status", "--json"]:
    print(json.dumps({"loggedIn": True, "email": "ann@example.com", "subscriptionType": "max"}))
    sys.exit(0)
with open(home + "/calls", "a") as calls: calls.write(json.dumps({"words": words, "environment": dict(os.environ), "directory": os.getcwd()}) + "\n")
flag = "--resume" if "--resume" in words else "--session-id"
session = words[words.index(flag) + 1]
project = os.path.realpath(os.getcwd())
for c in "/_.:": project = project.replace(c, "-")
os.makedirs(home + "/.claude/projects/" + project, exist_ok=True)
open(home + "/.claude/projects/" + project + "/" + session + ".jsonl", "a").close()
text = words[-1]
if text.startswith("hook "):
    settings = json.load(open(words[words.index("--settings") + 1]))
    question = json.loads(text[5:])
    hook = next(h for h in settings["hooks"]["PreToolUse"] if h["matcher"] == question["tool_name"])
    answer = subprocess.run(["/bin/sh", "-c", hook["hooks"][0]["command"]], input=text[5:], capture_output=True, text=True)
    text = json.loads(answer.stdout)["hookSpecificOutput"]["permissionDecision"]
print(json.dumps({"type": "assistant", "message": {"content": [{"type": "text", "text": "claude: " + text}]}}))
print(json.dumps({"type": "result", "subtype": "success", "result": text, "total_cost_usd": 0.125, "usage": {"input_tokens": 3, "output_tokens": 4}}))
"#;

/// An agent that tells its process id.
const AGENT: &str = r#"#!/usr/bin/env python3
import json, os, sys
for line in sys.stdin:
    m = json.loads(line)
    result = {"initialize": {"protocolVersion": 1}, "session/new": {"sessionId": "s1"}, "session/prompt": {"stopReason": "end_turn"}}.get(m.get("method"))
    if m.get("method") == "session/prompt":
        block = {"type": "text", "text": "agent " + str(os.getpid())}
        update = {"sessionId": "s1", "update": {"sessionUpdate": "agent_message_chunk", "content": block}}
        print(json.dumps({"jsonrpc": "2.0", "method": "session/update", "params": update}), flush=True)
    if "id" in m: print(json.dumps({"jsonrpc": "2.0", "id": m["id"], "result": result}), flush=True)
"#;

/// Puts a program there. Another process writes it: one that is being forked could still hold it open when it is started.
fn install(program: &Path, script: &str) {
    let mut writing = Command::new("/bin/sh").arg("-c").arg("cat > \"$0\" && chmod 755 \"$0\"").arg(program).stdin(Stdio::piped()).spawn().unwrap();
    writing.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(writing.wait().unwrap().success());
}

/// A gateway on a machine with both programs in `PATH`, and the directory they are in.
async fn with_programs(edition: Edition) -> (Setup, PathBuf) {
    let setup = Setup::new(edition).await;
    let home = setup.dir().join("programs");
    fs::create_dir(&home).unwrap();
    install(&home.join("claude"), CLAUDE);
    install(&home.join("codex"), AGENT);
    let home_text = home.to_str().unwrap().to_owned();
    let setup = setup.env("PATH", &format!("{home_text}:/usr/local/bin:/usr/bin:/bin")).env("HOME", &home_text);
    (setup.env("CLAUDECODE", "1").env("CLAUDE_CODE_OAUTH_TOKEN", "login-0001"), home)
}

fn calls(home: &Path) -> Vec<Value> {
    fs::read_to_string(home.join("calls")).unwrap_or_default().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn has(call: &Value, word: &str) -> bool {
    call["words"].as_array().unwrap().iter().any(|known| known == word)
}

on_both_editions! {
    async fn an_agent_answers_through_claudes_command_line(edition) {
        let (setup, home) = with_programs(edition).await;
        let server = setup.start().await;
        let owner = server.owner();
        let row = owner.post("/v1/providers", &json!({"name": "cli", "provider_type": "claude_cli", "api_base": home.join("claude"), "enabled": true})).await.expect(201);
        let models = owner.get(&format!("/v1/providers/{}/models", row["id"].as_str().unwrap())).await.expect(200);
        assert_eq!(models["models"], json!([{"id": "sonnet", "name": "Sonnet"}, {"id": "opus", "name": "Opus"}, {"id": "haiku", "name": "Haiku"}]));
        create_agent_with(&owner, "fox", json!({"provider": "cli", "model": "sonnet"})).await;
        let (mut socket, session) = (server.owner_socket().await, fox_session("1"));
        let answer = socket.call("chat.send", &message(&session, "-h")).await.unwrap();
        assert_eq!((&answer["content"], &answer["usage"]["total_tokens"]), (&json!("claude: -h"), &json!(7)));
        socket.call("chat.send", &message(&session, "again")).await.unwrap();
        socket.call("sessions.reset", &json!({"key": session})).await.unwrap();
        socket.call("chat.send", &message(&session, "anew")).await.unwrap();
        // What the program says it cost is on the trace of each call.
        let costs = eventually("three runs with their costs", async || {
            let traces = owner.get("/v1/traces").await.expect(200)["traces"].as_array().unwrap().clone();
            let costs: Vec<_> = traces.iter().filter(|trace| trace["session_key"] == session && trace["llm_call_count"] == 1).map(|trace| trace["total_cost"].clone()).collect();
            (costs.len() == 3).then_some(costs)
        })
        .await;
        assert_eq!(costs, [0.125, 0.125, 0.125]);
        // Titles are asked for as well, outside of the conversation.
        let (calls, others): (Vec<_>, Vec<_>) =
            calls(&home).into_iter().partition(|call| call["directory"].as_str().unwrap().ends_with("/data/cli-workspaces/agent-fox-ws-direct-1"));
        assert_eq!(calls.iter().map(|call| has(call, "--resume")).collect::<Vec<_>>(), [false, true, false]);
        for call in calls.iter().chain(&others) {
            let environment = call["environment"].as_object().unwrap();
            let foreign: Vec<_> = environment.keys().filter(|name| name.starts_with("GOCLAW") || (name.starts_with("CLAUDE") && *name != "CLAUDE_CODE_OAUTH_TOKEN")).collect();
            assert!(foreign.is_empty() && environment["CLAUDE_CODE_OAUTH_TOKEN"] == "login-0001", "{foreign:?}");
        }
    }

    async fn its_tools_are_held_to_the_rules_of_ours(edition) {
        let (setup, _home) = with_programs(edition).await;
        let server = setup.config(json!({"providers": {"claude_cli": {"cli_path": "claude"}}})).start().await;
        create_agent_with(&server.owner(), "fox", json!({"provider": "claude-cli", "model": "haiku"})).await;
        let (mut socket, session) = (server.owner_socket().await, fox_session("1"));
        for (tool, input, expected) in [
            ("Bash", json!({"command": "ls"}), "allow"),
            ("Bash", json!({"command": "sudo ls"}), "deny"),
            ("Write", json!({"file_path": "a.txt"}), "allow"),
            ("Write", json!({"file_path": "/etc/passwd"}), "deny"),
            ("Read", json!({"file_path": server.dir().join("config.json5")}), "deny"),
        ] {
            let question = json!({"tool_name": tool, "tool_input": input});
            let answer = socket.call("chat.send", &message(&session, &format!("hook {question}"))).await.unwrap();
            assert_eq!(answer["content"], format!("claude: {expected}"), "{question}");
        }
        socket.call("config.patch", &json!({"raw": "{tools: {execApproval: {security: 'deny'}}}"})).await.unwrap();
        let question = json!({"tool_name": "Bash", "tool_input": {"command": "ls"}});
        let answer = socket.call("chat.send", &message(&session, &format!("hook {question}"))).await.unwrap();
        assert_eq!(answer["content"], "claude: deny");
    }

    async fn who_is_logged_in_is_for_admins(edition) {
        let (setup, home) = with_programs(edition).await;
        let tenants = Tenants::start_with(setup).await;
        const PATH: &str = "/v1/providers/claude-cli/auth-status";
        let in_docker = Path::new("/.dockerenv").exists();
        let expected = json!({"logged_in": true, "email": "ann@example.com", "subscription_type": "max", "in_docker": in_docker});
        assert_eq!(tenants.client(&tenants.a_admin, "mai").get(PATH).await.expect(200), expected);
        for key in [&tenants.a_operator, &tenants.a_viewer] {
            tenants.client(key, "mai").get(PATH).await.expect(403);
        }
        tenants.server.anonymous().get(PATH).await.expect(401);
        // The program of master's provider is master's alone.
        install(&home.join("broken"), "#!/bin/sh\necho 'not today' >&2\nexit 1\n");
        let row = json!({"name": "cli", "provider_type": "claude_cli", "api_base": home.join("broken"), "enabled": true});
        tenants.server.owner().post("/v1/providers", &row).await.expect(201);
        assert_eq!(tenants.server.owner().get(PATH).await.expect(200), json!({"logged_in": false, "error": "exit status: 1: not today", "in_docker": in_docker}));
        assert_eq!(tenants.client(&tenants.b_admin, "lan").get(PATH).await.expect(200), expected);
    }

    async fn there_is_one_command_line_of_claudes_in_an_installation(edition) {
        let (setup, _home) = with_programs(edition).await;
        let tenants = Tenants::start_with(setup).await;
        let (a, b) = (tenants.client(&tenants.a_admin, "mai"), tenants.client(&tenants.b_admin, "lan"));
        let row = |name: &str, enabled: bool| json!({"name": name, "provider_type": "claude_cli", "enabled": enabled});
        let made = a.post("/v1/providers", &row("cli", false)).await.expect(201);
        for client in [&a, &b] {
            let refused = client.post("/v1/providers", &row("another", true)).await.expect_error(409);
            assert_eq!(refused, ("Claude CLI provider already exists: only one is allowed per instance".to_owned(), "ALREADY_EXISTS".to_owned()));
        }
        // What else is wrong with it is said later.
        let mut wrong = row("another", true);
        wrong["settings"] = json!({"embedding": {"enabled": true, "dimensions": 1}});
        b.post("/v1/providers", &wrong).await.expect_error(409);
        assert_eq!(b.get("/v1/providers").await.expect(200)["providers"], json!([]));
        // It may be written again, and once it is gone another one may be made: of many at once, one is.
        assert_eq!(a.post("/v1/providers", &row("cli", true)).await.expect(201)["id"], made["id"]);
        a.delete(&format!("/v1/providers/{}", made["id"].as_str().unwrap())).await.expect(200);
        let rows: Vec<_> = (0..6).map(|n| row(&format!("cli-{n}"), true)).collect();
        let replies = futures_util::future::join_all(rows.iter().enumerate().map(|(n, row)| if n % 2 == 0 { &a } else { &b }.post("/v1/providers", row))).await;
        assert_eq!(replies.iter().filter(|reply| reply.status == 201).count(), 1);
        assert!(replies.iter().all(|reply| matches!(reply.status, 201 | 409)));
    }

    async fn only_the_machines_owner_names_programs(edition) {
        let (setup, home) = with_programs(edition).await;
        let tenants = Tenants::start_with(setup).await;
        let admin = tenants.client(&tenants.a_admin, "mai");
        let row = |kind: &str, base: &Path, settings: Value| json!({"name": "mine", "provider_type": kind, "api_base": base, "enabled": true, "settings": settings});
        for refused in [
            row("claude_cli", &home.join("claude"), json!({})),
            row("acp", Path::new("/bin/sh"), json!({})),
            row("acp", Path::new("codex"), json!({"args": ["-c", "true"]})),
            row("claude_cli", Path::new("claude"), json!({"work_dir": "/etc"})),
            row("acp", Path::new("bash"), json!({})),
        ] {
            assert_eq!(admin.post("/v1/providers", &refused).await.expect_error(400).1, "INVALID_REQUEST", "{refused}");
        }
        assert_eq!(admin.get("/v1/providers").await.expect(200)["providers"], json!([]));
        let mine = admin.post("/v1/providers", &row("acp", Path::new("codex"), json!({"perm_mode": "deny-all"}))).await.expect(201);
        let path = format!("/v1/providers/{}", mine["id"].as_str().unwrap());
        admin.put(&path, &json!({"api_base": "/bin/sh"})).await.expect(400);
        admin.put(&path, &json!({"settings": {"args": ["x"]}})).await.expect(400);
        tenants.client(&tenants.b_admin, "lan").get(&path).await.expect(404);
    }

    async fn an_agent_of_the_protocol_answers_and_ends_with_the_gateway(edition) {
        let (setup, _home) = with_programs(edition).await;
        let mut server = setup.start().await;
        let owner = server.owner();
        let row = owner.post("/v1/providers", &json!({"name": "agent", "provider_type": "acp", "api_base": "codex", "enabled": true})).await.expect(201);
        let path = format!("/v1/providers/{}", row["id"].as_str().unwrap());
        assert_eq!(owner.post(&format!("{path}/verify"), &json!({"model": "codex"})).await.expect(200), json!({"valid": true}));
        assert_eq!(owner.get(&format!("{path}/models")).await.expect(200)["models"][2], json!({"id": "gemini", "name": "Gemini"}));
        create_agent_with(&owner, "fox", json!({"provider": "agent", "model": "codex"})).await;
        let (mut socket, session) = (server.owner_socket().await, fox_session("1"));
        let said = async |socket: &mut goclaw_tests::WsClient| socket.call("chat.send", &message(&session, "hi")).await.unwrap()["content"].as_str().unwrap().to_owned();
        let first = said(&mut socket).await;
        assert!(first.starts_with("agent "), "{first}");
        // Another part of the configuration changes: the conversation goes on.
        socket.call("config.patch", &json!({"raw": "{gateway: {max_message_chars: 9000}}"})).await.unwrap();
        assert_eq!(said(&mut socket).await, first);
        socket.call("sessions.reset", &json!({"key": session})).await.unwrap();
        let second = said(&mut socket).await;
        assert_ne!(second, first);
        let runs = |said: &str| Path::new("/proc").join(said.trim_start_matches("agent ")).exists();
        assert!(!runs(&first) && runs(&second));
        assert!(server.stop().await.success());
        eventually("the agent to end with its gateway", async || !runs(&second)).await;
    }

    async fn a_program_that_is_not_there_is_told(edition) {
        let (setup, _home) = with_programs(edition).await;
        let server = setup.start().await;
        let owner = server.owner();
        let row = owner.post("/v1/providers", &json!({"name": "agent", "provider_type": "acp", "api_base": "gemini", "enabled": true})).await.expect(201);
        let verify = async |row: &Value, model: &str| owner.post(&format!("/v1/providers/{}/verify", row["id"].as_str().unwrap()), &json!({"model": model})).await.expect(200);
        assert_eq!(verify(&row, "gemini").await, json!({"valid": false, "error": "binary not found: gemini"}));
        let row = owner.post("/v1/providers", &json!({"name": "cli", "provider_type": "claude_cli", "enabled": true})).await.expect(201);
        assert!(verify(&row, "gpt-4o").await["error"].as_str().unwrap().contains("sonnet, opus or haiku"));
        assert_eq!(verify(&row, "sonnet").await, json!({"valid": true}));
    }
}
