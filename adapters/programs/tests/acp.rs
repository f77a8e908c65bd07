//! An agent as a script that speaks the protocol, in either dialect.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Site, asked, picture, question, shown, spec};
use futures_util::StreamExt;
use goclaw_ports::{
    TenantId,
    llm::{ChatEvent, ChatRequest, Conversation, FinishReason, LlmErrorKind},
};
use serde_json::{Value, json};
use std::{fs, sync::Arc, time::Duration};

/// Does what the message says: `call <method> <params>` asks the client, `crash`, `hang`, `long` and so on. It tells its process id in
/// other answers, and writes down what it receives. With `--old` it speaks the earlier dialect, with `--sees` it takes pictures.
const SCRIPT: &str = r#"#!/usr/bin/env python3
import json, os, signal, sys
old = "--old" in sys.argv
with open(os.environ["HOME"] + "/environment", "a") as f: f.write("\n".join(os.environ) + "\n")
def send(m): sys.stdout.write(json.dumps(dict(m, jsonrpc="2.0")) + "\n"); sys.stdout.flush()
def receive():
    line = sys.stdin.readline()
    if not line: sys.exit(0)
    with open(os.environ["HOME"] + "/received", "a") as f: f.write(line)
    return json.loads(line)
def say(text):
    block = {"type": "text", "text": text}
    if old: send({"method": "session/update", "params": {"kind": "message", "message": {"role": "assistant", "content": [block]}}})
    else: send({"method": "session/update", "params": {"sessionId": "s1", "update": {"sessionUpdate": "agent_message_chunk", "content": block}}})
def call(method, params):
    send({"id": "q1", "method": method, "params": params})
    while True:
        m = receive()
        if m.get("id") == "q1": return m
print("welcome, this is no message", flush=True)
while True:
    m = receive()
    method, params = m.get("method"), m.get("params")
    if method == "initialize":
        assert params["clientInfo"]["name"] == "goclaw" and params["protocolVersion"] == 1
        send({"id": m["id"], "result": {} if old else {"protocolVersion": 1, "agentCapabilities": {"promptCapabilities": {"image": "--sees" in sys.argv}}}})
    elif method == "session/new": send({"id": m["id"], "result": {"sessionId": "s1"}})
    elif method == "session/cancel": open(os.environ["HOME"] + "/cancelled", "w").close()
    elif method == "session/prompt":
        text = params["content" if old else "prompt"][0]["text"]
        system, order = text.split("\n\n", 1)
        reason = "end_turn"
        if order == "crash": sys.exit(3)
        if order == "hang":
            say("hanging")
            while receive().get("method") != "session/cancel": pass
            open(os.environ["HOME"] + "/cancelled", "w").close()
            reason = "cancelled"
        elif order == "deaf":
            say("deaf")
            while True: receive()
        elif order == "stuffed":
            for n in range(400): send({"id": n, "method": "x" * 10000, "params": {}})
            while True: signal.pause()
        elif order.startswith("call "):
            _, name, arguments = order.split(" ", 2)
            answer = call(name, json.loads(arguments))
            say(json.dumps(answer.get("result", answer.get("error"))))
        elif order == "endless":
            while True: say("x" * 1000000)
        elif order == "count": say(" ".join(block["type"] for block in params["content" if old else "prompt"]))
        elif order == "long": reason = "maxContextLength" if old else "max_tokens"
        elif order == "refuse":
            send({"id": m["id"], "error": {"code": -32000, "message": "not in the mood"}})
            continue
        else: say(system); say(" " + str(os.getpid()))
        send({"id": m["id"], "result": {"stopReason": reason}})
    elif "id" in m: send({"id": m["id"], "error": {"code": -32601, "message": "unknown"}})
"#;

fn site() -> Site {
    Site::new("claude", SCRIPT)
}

async fn says(provider: &dyn goclaw_ports::llm::Provider, session: &str, order: &str) -> String {
    asked(provider, question(session, order)).await.unwrap().1.content
}

/// What the agent gets when it calls the client.
async fn call(provider: &dyn goclaw_ports::llm::Provider, method: &str, params: Value) -> Value {
    serde_json::from_str(&says(provider, "s", &format!("call {method} {params}")).await).unwrap()
}

#[tokio::test]
async fn a_conversation_has_one_process_in_both_dialects() {
    for arguments in [json!(["--old"]), json!([])] {
        let site = site();
        let agent = site.provider("acp", json!({"args": arguments}));
        let (pieces, response) = asked(&*agent, question("agent:fox:1", "Hi!")).await.unwrap();
        assert_eq!((pieces.len(), pieces.concat() == response.content), (2, true), "{pieces:?}");
        assert!(response.content.starts_with("Be a fox. "), "{}", response.content);
        assert_eq!(says(&*agent, "agent:fox:1", "Again!").await, response.content, "the same process answers");
        assert_ne!(says(&*agent, "agent:fox:2", "Hi!").await, response.content, "another conversation has another");
        let other = ChatRequest {
            conversation: Some(Conversation { tenant: TenantId(uuid::Uuid::from_u128(7)), session_key: "agent:fox:1".into() }),
            ..question("", "Hi!")
        };
        assert_ne!(asked(&*agent, other).await.unwrap().1.content, response.content, "tenants share none");
        assert_eq!(asked(&*agent, question("agent:fox:1", "long")).await.unwrap().1.finish_reason, FinishReason::Length);
        let environment = site.read("environment");
        assert!(environment.contains("PATH") && ["GOCLAW", "CLAUDE", "ANTHROPIC"].iter().all(|secret| !environment.contains(secret)), "{environment}");
    }
}

#[tokio::test]
async fn an_answer_without_end_is_given_up_and_the_next_question_has_an_agent() {
    for streamed in [true, false] {
        let site = site();
        let agent = site.provider("acp", json!({}));
        let endless = ChatRequest { stream: streamed, ..question("s", "endless") };
        assert_eq!(asked(&*agent, endless).await.unwrap_err().text, "mine: the answer is too long");
        assert!(says(&*agent, "s", "Hi!").await.starts_with("Be a fox."));
    }
}

#[tokio::test]
async fn an_agent_of_the_published_dialect_gets_pictures_if_it_says_that_it_takes_them_and_others_always_do() {
    for (arguments, got) in [(json!(["--sees"]), "text image"), (json!([]), "text"), (json!(["--old"]), "text image")] {
        let site = site();
        let agent = site.provider("acp", json!({"args": arguments}));
        let asking = shown("s", "count", &[picture("image/jpeg", "aGk=")]);
        assert_eq!(asked(&*agent, asking).await.unwrap().1.content, got, "{arguments}");
    }
}

#[tokio::test]
async fn an_agent_receives_these_messages_in_this_order() {
    for arguments in [json!(["--old"]), json!(["--sees"])] {
        let site = site();
        let agent = site.provider("acp", json!({"args": arguments}));
        let pictures = [picture("image/jpeg", "aGk="), picture("image/png", "eW91")];
        asked(&*agent, shown("agent:fox:1", "Hi!", &pictures)).await.unwrap();
        let order = r#"call permission/request {"toolName": "Bash", "description": "ls"}"#;
        says(&*agent, "agent:fox:1", order).await;
        let mut events = agent.chat(question("agent:fox:1", "hang"));
        assert!(matches!(events.next().await, Some(Ok(ChatEvent::Text(_)))));
        drop(events);
        says(&*agent, "agent:fox:1", "Bye!").await;

        let root = site.home.path().join("acp-workspaces/agent-fox-1").canonicalize().unwrap();
        let files = json!({"readTextFile": true, "writeTextFile": true});
        let capabilities = json!({"fs": files, "terminal": {"enabled": true}});
        let published = json!({"fs": files, "terminal": true});
        let initialize =
            json!({"protocolVersion": 1, "clientInfo": {"name": "goclaw", "version": "1.0"}, "clientCapabilities": published, "capabilities": capabilities});
        let text = |text: &str| json!({"type": "text", "text": format!("Be a fox.\n\n{text}")});
        let image = |kind: &str, data: &str| json!({"type": "image", "mimeType": kind, "data": data});
        let request = |id: u64, method: &str, params: Value| json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let prompt = |id: u64, blocks: Vec<Value>| request(id, "session/prompt", json!({"sessionId": "s1", "prompt": blocks, "content": blocks}));
        let expected = [
            request(1, "initialize", initialize),
            request(2, "session/new", json!({"cwd": root, "mcpServers": []})),
            prompt(3, vec![text("Hi!"), image("image/jpeg", "aGk="), image("image/png", "eW91")]),
            prompt(4, vec![text(order)]),
            json!({"jsonrpc": "2.0", "id": "q1", "result": {"outcome": "approved"}}),
            prompt(5, vec![text("hang")]),
            json!({"jsonrpc": "2.0", "method": "session/cancel", "params": {"sessionId": "s1"}}),
            prompt(6, vec![text("Bye!")]),
        ];
        let received: Vec<Value> = site.read("received").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(received, expected, "{arguments}");
    }
}

#[tokio::test]
async fn an_agent_that_asks_without_reading_the_answers_is_given_up_when_its_time_is_over() {
    let mut site = site();
    site.options.idle_timeout = Duration::from_secs(5);
    let agent = site.provider("acp", json!({}));
    assert_eq!(asked(&*agent, question("s", "stuffed")).await.unwrap_err().kind, LlmErrorKind::Timeout);
    assert!(says(&*agent, "s", "Hi!").await.starts_with("Be a fox."));
}

#[tokio::test]
async fn an_agent_that_ended_is_started_again() {
    let site = site();
    let agent = site.provider("acp", json!({}));
    let before = says(&*agent, "s", "Hi!").await;
    let error = asked(&*agent, question("s", "crash")).await.unwrap_err();
    assert!(error.text.contains("the agent has ended"), "{}", error.text);
    assert_ne!(says(&*agent, "s", "Hi!").await, before);
    assert!(asked(&*agent, question("s", "refuse")).await.unwrap_err().text.contains("not in the mood"));
    let before = says(&*agent, "s", "Hi!").await;
    agent.forget(&Conversation { tenant: TenantId::MASTER, session_key: "s".into() }).await;
    assert_ne!(says(&*agent, "s", "Hi!").await, before, "a conversation that begins anew has a new process");
}

#[tokio::test]
async fn whoever_stops_listening_tells_the_agent_and_one_that_is_deaf_ends() {
    let site = site();
    let agent = site.provider("acp", json!({}));
    for (order, kept) in [("hang", true), ("deaf", false)] {
        let before = says(&*agent, order, "Hi!").await;
        let mut events = agent.chat(question(order, order));
        assert!(matches!(events.next().await, Some(Ok(ChatEvent::Text(_)))));
        drop(events);
        assert_eq!(says(&*agent, order, "Hi!").await == before, kept, "{order}");
    }
    assert!(site.home.path().join("cancelled").exists());
}

#[tokio::test]
async fn an_unused_process_ends_and_so_does_that_of_a_question_without_a_conversation() {
    let site = site();
    let agent = site.provider("acp", json!({"idle_ttl": "50ms"}));
    let gone = |said: &str| {
        let id = said.rsplit(' ').next().unwrap().to_owned();
        move || !std::path::Path::new("/proc").join(&id).exists()
    };
    let idle = gone(&says(&*agent, "s", "Hi!").await);
    let alone = gone(&asked(&*agent, ChatRequest { conversation: None, ..question("", "Hi!") }).await.unwrap().1.content);
    // The directory of a question without a conversation goes a moment after its process.
    let directories = || fs::read_dir(site.home.path().join("acp-workspaces")).unwrap().count();
    let patience = tokio::time::timeout(Duration::from_secs(20), async {
        while !idle() || !alone() || directories() != 1 {
            tokio::task::yield_now().await;
        }
    });
    patience.await.expect("both processes end, and one leaves no directory");
}

#[tokio::test]
async fn the_same_provider_read_again_keeps_its_processes_and_a_changed_one_does_not() {
    let site = site();
    let factory = site.factory();
    let build = |settings: Value| factory.build(spec("acp", settings)).unwrap();
    let first = build(json!({}));
    let before = says(&*first, "s", "Hi!").await;
    let again = build(json!({}));
    drop(first);
    assert_eq!(says(&*again, "s", "Hi!").await, before);
    assert_ne!(says(&*build(json!({"perm_mode": "deny-all"})), "s", "Hi!").await, before);
    for (base, why) in [("bash", "invalid binary path"), ("gemini", "program not found: gemini"), ("/no/such", "program not found: /no/such")] {
        let spec = goclaw_ports::llm::ProviderSpec { api_base: base.into(), ..spec("acp", json!({})) };
        assert_eq!(factory.build(spec).err().unwrap().message.to_string(), why);
    }
}

#[tokio::test]
async fn files_are_read_and_written_in_the_conversations_directory_only() {
    let site = site();
    let agent = site.provider("acp", json!({"args": ["--old"]}));
    assert_eq!(call(&*agent, "fs/writeTextFile", json!({"path": "a/b.txt", "content": "one\ntwo\nthree\n"})).await, json!({}));
    assert_eq!(fs::read_to_string(site.home.path().join("acp-workspaces/s/a/b.txt")).unwrap(), "one\ntwo\nthree\n");
    assert_eq!(call(&*agent, "fs/readTextFile", json!({"path": "a/b.txt"})).await, json!({"content": "one\ntwo\nthree\n"}));
    assert_eq!(call(&*agent, "fs/read_text_file", json!({"path": "a/b.txt", "line": 2, "limit": 1})).await, json!({"content": "two\n"}));
    std::os::unix::fs::symlink("/etc", site.home.path().join("acp-workspaces/s/out")).unwrap();
    for path in ["/etc/passwd", "../../environment", "out/passwd", "none"] {
        assert_eq!(call(&*agent, "fs/readTextFile", json!({"path": path})).await["code"], -32_000, "{path}");
    }
    assert_eq!(call(&*agent, "fs/writeTextFile", json!({"path": "out/new/x", "content": "x"})).await["code"], -32_000);
    assert_eq!(call(&*agent, "fs/readTextFile", json!({})).await["code"], -32_602);
    assert_eq!(call(&*agent, "fs/removeEverything", json!({})).await["code"], -32_601);
}

#[tokio::test]
async fn commands_run_as_far_as_the_shells_rules_let_them() {
    let site = site();
    let agent = site.provider("acp", json!({"args": ["--old"]}));
    let created =
        call(&*agent, "terminal/create", json!({"command": "sh", "args": ["-c", "pwd; awk 'BEGIN { for (name in ENVIRON) print ENVIRON[name] }'; exit 3"]}))
            .await;
    assert_eq!(created, json!({"terminalId": "term-1"}));
    assert_eq!(call(&*agent, "terminal/waitForExit", json!({"terminalId": "term-1"})).await, json!({"exitStatus": 3}));
    let output = call(&*agent, "terminal/output", json!({"terminalId": "term-1"})).await;
    let text = output["output"].as_str().unwrap();
    assert!(output["exitStatus"] == 3 && text.contains("acp-workspaces/s\n") && !text.contains("secret-") && !text.contains("login-"), "{text}");
    assert_eq!(call(&*agent, "terminal/release", json!({"terminalId": "term-1"})).await, json!({}));
    assert_eq!(call(&*agent, "terminal/output", json!({"terminalId": "term-1"})).await["code"], -32_000);
    for (command, args, cwd) in
        [("sudo", json!(["ls"]), "."), ("sh", json!(["-c", "sudo ls"]), "."), ("vim", json!([]), "."), ("ls", json!([]), "/etc"), ("ls", json!([]), "..")]
    {
        let refused = call(&*agent, "terminal/create", json!({"command": command, "args": args, "cwd": cwd})).await;
        assert_eq!(refused["code"], -32_000, "{command} {args} {cwd}: {refused}");
    }
    // The published dialect has other names and another shape for the same.
    let agent = site.provider("acp", json!({}));
    let id = call(&*agent, "terminal/create", json!({"sessionId": "s1", "command": "sleep", "args": ["1000"]})).await;
    assert_eq!(id["code"], -32_000, "{id}");
    let id = call(&*agent, "terminal/create", json!({"command": "sh", "args": ["-c", "exec sleep 1000"]})).await["terminalId"].clone();
    assert_eq!(call(&*agent, "terminal/kill", json!({"terminalId": id})).await, json!({}));
    assert_eq!(call(&*agent, "terminal/wait_for_exit", json!({"terminalId": id})).await, json!({"exitCode": null, "signal": "9"}));
}

#[tokio::test]
async fn an_agent_may_do_what_its_mode_and_the_runs_tools_say() {
    let site = site();
    let options =
        json!([{"optionId": "always", "kind": "allow_always"}, {"optionId": "once", "kind": "allow_once"}, {"optionId": "no", "kind": "reject_once"}]);
    let asks = |title: &str| json!({"toolCall": {"title": title, "kind": "execute"}, "options": options});
    let cases = [
        ("approve-all", [true, true, true], "once", "once"),
        ("approve-reads", [true, false, false], "once", "no"),
        ("deny-all", [false, false, false], "no", "no"),
    ];
    for (mode, [reads, writes, runs], looking, running) in cases {
        let agent = site.provider("acp", json!({"perm_mode": mode}));
        fs::create_dir_all(site.home.path().join("acp-workspaces/s")).unwrap();
        fs::write(site.home.path().join("acp-workspaces/s/a.txt"), "x").unwrap();
        let done = async |method: &str, params: Value| call(&*agent, method, params).await.get("code").is_none();
        assert_eq!(done("fs/read_text_file", json!({"path": "a.txt"})).await, reads, "{mode}");
        assert_eq!(done("fs/write_text_file", json!({"path": "b.txt", "content": "x"})).await, writes, "{mode}");
        assert_eq!(done("terminal/create", json!({"command": "true"})).await, runs, "{mode}");
        assert_eq!(call(&*agent, "session/request_permission", asks("Grep for x")).await["outcome"]["optionId"], looking, "{mode}");
        assert_eq!(call(&*agent, "session/request_permission", asks("Run make")).await["outcome"]["optionId"], running, "{mode}");
        assert_eq!(call(&*agent, "permission/request", json!({"toolName": "Bash"})).await["outcome"], if runs { "approved" } else { "denied" });
    }
    // An agent whose tools the operator took away has none by the back door either.
    let agent: Arc<dyn goclaw_ports::llm::Provider> = site.provider("acp", json!({}));
    let order = format!("call fs/read_text_file {}", json!({"path": "a.txt"}));
    let without = ChatRequest { tools: [].into(), ..question("s", &order) };
    assert!(asked(&*agent, without).await.unwrap().1.content.contains("permission denied"));
}
