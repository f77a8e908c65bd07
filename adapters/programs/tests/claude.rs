//! Claude's command line as a script.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Site, asked, picture, question, shown, spec};
use futures_util::StreamExt;
use goclaw_ports::{
    TenantId,
    llm::{ChatEvent, ChatRequest, Conversation, LlmErrorKind},
};
use nix::{sys::stat::Mode, unistd::mkfifo};
use serde_json::{Value, json};
use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

/// Writes down how it was called and answers. It keeps conversations where the real one does.
const SCRIPT: &str = r#"#!/bin/sh
{ for word in "$@"; do printf '%s\n' "$word"; done; echo '-- end --'; } >> "$HOME/calls"
env > "$HOME/environment"
pwd > "$HOME/directory"
session=
previous=
for word in "$@"; do
  case "$previous" in --session-id|--resume) session=$word;; esac
  previous=$word
done
project="$HOME/.claude/projects/$(pwd -P | tr '/_.:' '----')"
mkdir -p "$project" && echo '{}' >> "$project/$session.jsonl"
cat > "$HOME/input"
printf '%s\n' '{"type":"system","subtype":"init"}'
printf '%s\n' '{"type":"assistant","message":{"content":[{"type":"text","text":"Hello"}]}}'
printf '%s\n' '{"type":"assistant","message":{"content":[{"type":"text","text":"you."}]}}'
printf '%s\n' '{"type":"result","subtype":"success","is_error":false,"result":"you.","usage":{"input_tokens":10,"output_tokens":5}}'
"#;

/// The words of the last call.
fn last_call(site: &Site) -> Vec<String> {
    let calls = site.read("calls");
    let calls: Vec<&str> = calls.trim_end_matches("-- end --\n").split("-- end --\n").collect();
    calls.last().unwrap().lines().map(str::to_owned).collect()
}

fn word_after<'w>(words: &'w [String], flag: &str) -> Option<&'w str> {
    words.iter().position(|word| word == flag).and_then(|at| words.get(at + 1)).map(String::as_str)
}

#[tokio::test]
async fn a_question_is_answered_and_the_next_one_resumes() {
    let site = Site::new("claude", SCRIPT);
    let claude = site.provider("claude_cli", json!({}));
    let (pieces, response) = asked(&*claude, question("agent:fox:ws:ann", "Hi!")).await.unwrap();
    assert_eq!((pieces.concat().as_str(), response.content.as_str()), ("Hello\n\nyou.", "Hello\n\nyou."));
    assert_eq!(response.usage.unwrap().total_tokens, 15);
    let first = last_call(&site);
    let id = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_DNS, b"agent:fox:ws:ann").to_string();
    let settings = site.home.path().join(format!("cli-hooks/{id}.json"));
    let options = ["-p", "--output-format", "stream-json", "--model", "sonnet", "--permission-mode", "bypassPermissions", "--verbose"];
    let rest = ["--session-id", &id, "--settings", settings.to_str().unwrap(), "--", "Hi!"];
    assert_eq!(first, [&options[..], &rest[..]].concat());
    assert_eq!(site.read("input"), "");

    let directory = site.home.path().join("cli-workspaces/agent-fox-ws-ann");
    assert_eq!(Path::new(site.read("directory").trim()).canonicalize().unwrap(), directory.canonicalize().unwrap());
    assert_eq!(fs::read_to_string(directory.join("CLAUDE.md")).unwrap(), "Be a fox.");
    assert_eq!(fs::metadata(directory.join("CLAUDE.md")).unwrap().permissions().mode() & 0o777, 0o600);

    asked(&*claude, question("agent:fox:ws:ann", "Again!")).await.unwrap();
    assert_eq!(word_after(&last_call(&site), "--resume"), Some(id.as_str()));

    // A conversation that begins anew is a new one for the program as well.
    claude.forget(&Conversation { tenant: TenantId::MASTER, session_key: "agent:fox:ws:ann".into() }).await;
    asked(&*claude, question("agent:fox:ws:ann", "Anew!")).await.unwrap();
    assert_eq!(word_after(&last_call(&site), "--session-id"), Some(id.as_str()));
}

#[tokio::test]
async fn the_environment_holds_its_login_and_none_of_our_secrets() {
    let site = Site::new("claude", SCRIPT);
    asked(&*site.provider("claude_cli", json!({})), question("s", "Hi!")).await.unwrap();
    let environment = site.read("environment");
    assert!(environment.contains("CLAUDE_CODE_OAUTH_TOKEN=login-0002") && environment.contains("PATH="), "{environment}");
    assert!(!environment.contains("CLAUDECODE") && !environment.contains("secret-0001"), "{environment}");
}

#[tokio::test]
async fn what_the_agent_may_not_do_its_command_line_may_not_either() {
    let site = Site::new("claude", SCRIPT);
    let claude = site.provider("claude_cli", json!({"perm_mode": "--evil"}));
    asked(&*claude, ChatRequest { tools: [].into(), ..question("s", "Hi!") }).await.unwrap();
    let words = last_call(&site);
    assert_eq!(word_after(&words, "--disallowedTools"), Some("Bash,Edit,Read,Write,Glob,Grep,WebFetch,WebSearch,TodoRead,TodoWrite,NotebookRead,NotebookEdit"));
    assert_eq!(word_after(&words, "--permission-mode"), Some("bypassPermissions"));
}

#[tokio::test]
async fn a_message_is_no_option_and_a_long_one_goes_through_standard_input() {
    let site = Site::new("claude", SCRIPT);
    let claude = site.provider("claude_cli", json!({}));
    asked(&*claude, ChatRequest { stream: false, ..question("s", "--dangerous") }).await.unwrap();
    let words = last_call(&site);
    assert_eq!((words.last().unwrap().as_str(), word_after(&words, "--output-format")), ("--dangerous", Some("json")));
    let long = "x".repeat(300_000);
    asked(&*claude, question("s", &long)).await.unwrap();
    let input: serde_json::Value = serde_json::from_str(&site.read("input")).unwrap();
    assert_eq!(input["message"]["content"][0]["text"], long);
}

#[tokio::test]
async fn pictures_go_through_standard_input_before_the_text() {
    let site = Site::new("claude", SCRIPT);
    let claude = site.provider("claude_cli", json!({}));
    let id = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_DNS, b"s").to_string();
    let settings = site.home.path().join(format!("cli-hooks/{id}.json"));
    let pictures = [picture("image/jpeg", "aGk="), picture("image/png", "eW91"), picture("image/webp", "Li4u")];
    for (session, stream, some) in [("--session-id", true, &pictures[..1]), ("--resume", false, &pictures[..1]), ("--resume", true, &pictures[..])] {
        let answered = asked(&*claude, ChatRequest { stream, ..shown("s", "What is this?", some) }).await.unwrap();
        assert_eq!(answered.1.content, "Hello\n\nyou.");
        let options = ["-p", "--output-format", "stream-json", "--model", "sonnet", "--permission-mode", "bypassPermissions", "--verbose"];
        let rest = [session, &id, "--input-format", "stream-json", "--settings", settings.to_str().unwrap()];
        assert_eq!(last_call(&site), [&options[..], &rest[..]].concat());

        let input = site.read("input");
        assert_eq!(input.find('\n'), Some(input.len() - 1), "it is one line: {input}");
        let mut content = Vec::new();
        for picture in some {
            content.push(json!({"type": "image", "source": {"type": "base64", "media_type": picture.mime_type, "data": &*picture.data}}));
        }
        content.push(json!({"type": "text", "text": "What is this?"}));
        assert_eq!(serde_json::from_str::<Value>(&input).unwrap(), json!({"type": "user", "message": {"role": "user", "content": content}}));
    }
}

#[tokio::test]
async fn big_pictures_arrive_while_the_program_talks() {
    // It talks before it reads, and repeats what it reads: whoever waited for the other to be done would wait forever.
    let script = r#"#!/bin/sh
i=0
while [ $i -lt 3000 ]; do
  printf '%s\n' '{"type":"system","subtype":"status","text":"..................................................................."}'
  i=$((i + 1))
done
tee "$HOME/input"
printf '%s\n' '{"type":"result","subtype":"success","result":"seen"}'
"#;
    let site = Site::new("claude", script);
    let claude = site.provider("claude_cli", json!({}));
    let big = picture("image/png", &"iVBO".repeat(1 << 20));
    for stream in [true, false] {
        let asking = ChatRequest { stream, ..shown("s", "Look!", &[big.clone(), big.clone()]) };
        assert_eq!(asked(&*claude, asking).await.unwrap().1.content, "seen");
        let input: Value = serde_json::from_str(&site.read("input")).unwrap();
        let content = input["message"]["content"].as_array().unwrap();
        let whole = |block: &Value| block["source"]["data"].as_str() == Some(&*big.data);
        assert!(content.len() == 3 && whole(&content[0]) && whole(&content[1]) && content[2]["text"] == "Look!");
    }
}

#[tokio::test]
async fn a_program_that_does_not_read_its_pictures_is_not_waited_for() {
    let big = || shown("s", "Look!", &[picture("image/png", &"iVBO".repeat(1 << 20))]);
    let site = Site::new("claude", "#!/bin/sh\nprintf '%s\\n' '{\"type\":\"result\",\"subtype\":\"success\",\"result\":\"unseen\"}'\n");
    assert_eq!(asked(&*site.provider("claude_cli", json!({})), big()).await.unwrap().1.content, "unseen");

    let site = Site::new("claude", "#!/bin/sh\necho 'no pictures today' >&2\nexit 1\n");
    assert_eq!(asked(&*site.provider("claude_cli", json!({})), big()).await.unwrap_err().text, "mine: no pictures today");

    let mut site = Site::new("claude", "#!/bin/sh\nexec sleep 1000\n");
    site.options.idle_timeout = Duration::from_millis(500);
    assert_eq!(asked(&*site.provider("claude_cli", json!({})), big()).await.unwrap_err().kind, LlmErrorKind::Timeout);
}

#[tokio::test]
async fn a_conversation_without_a_key_is_never_resumed() {
    let site = Site::new("claude", SCRIPT);
    let claude = site.provider("claude_cli", json!({}));
    let mut ids = Vec::new();
    for _ in 0..2 {
        asked(&*claude, question("", "Hi!")).await.unwrap();
        ids.push(word_after(&last_call(&site), "--session-id").map(str::to_owned).unwrap());
    }
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn the_last_question_is_recorded_for_whoever_looks_for_a_fault_and_no_secret_is() {
    let script = r#"#!/bin/sh
echo "login $CLAUDE_CODE_OAUTH_TOKEN, key $ANTHROPIC_API_KEY" >&2
printf '%s\n' '{"type":"result","subtype":"success","result":"done"}'
"#;
    let mut site = Site::new("claude", script);
    let record = site.home.path().join("cli-workspaces/s/cli-debug.log");
    asked(&*site.provider("claude_cli", json!({})), question("s", "Hi!")).await.unwrap();
    assert!(!record.exists());

    site.options.environment.push(("GOCLAW_DEBUG".to_owned(), "1".to_owned()));
    let claude = site.provider("claude_cli", json!({}));
    // The program may leave a link in its place.
    let elsewhere = site.home.path().join("elsewhere");
    fs::write(&elsewhere, "mine").unwrap();
    std::os::unix::fs::symlink(&elsewhere, &record).unwrap();
    for message in ["Hi!", "Again!"] {
        asked(&*claude, question("s", message)).await.unwrap();
        let text = fs::read_to_string(&record).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("asked: -p --output-format stream-json --model sonnet ") && !lines[0].contains(message), "{text}");
        let said = r#"said: {"type":"result","subtype":"success","result":"done"}"#;
        assert_eq!(lines[1..], ["given: 0 bytes", said, "complained: login ***, key ***", "ended: exit status: 0"]);
    }
    assert_eq!(fs::symlink_metadata(&record).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "mine");
}

#[tokio::test]
async fn a_question_of_no_conversation_leaves_nothing_behind() {
    let site = Site::new("claude", SCRIPT);
    let claude = site.provider("claude_cli", json!({}));
    asked(&*claude, ChatRequest { conversation: None, ..question("s", "Hi!") }).await.unwrap();
    assert_eq!(fs::read_dir(site.home.path().join("cli-workspaces")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(site.home.path().join("cli-hooks")).unwrap().count(), 0);
}

#[tokio::test]
async fn failures_are_told() {
    let site = Site::new("claude", "#!/bin/sh\necho 'Invalid API key · Please run /login' >&2\nexit 1\n");
    let error = asked(&*site.provider("claude_cli", json!({})), question("s", "Hi!")).await.unwrap_err();
    assert_eq!((error.kind, error.text.as_str()), (LlmErrorKind::Auth, "mine: Invalid API key · Please run /login"));

    let model = ChatRequest { model: "gpt-4o".into(), ..question("s", "Hi!") };
    assert_eq!(asked(&*site.provider("claude_cli", json!({})), model).await.unwrap_err().kind, LlmErrorKind::Model);

    let reported = r#"#!/bin/sh
printf '%s\n' '{"type":"result","subtype":"error_max_turns","is_error":true,"result":"too many turns"}'
"#;
    let site = Site::new("claude", reported);
    assert_eq!(asked(&*site.provider("claude_cli", json!({})), question("s", "Hi!")).await.unwrap_err().text, "mine: too many turns");

    let partial = "#!/bin/sh\nprintf '%s\\n' '{\"type\":\"assistant\",\"message\":{\"content\":[{\"type\":\"text\",\"text\":\"half\"}]}}'\nexit 7\n";
    let site = Site::new("claude", partial);
    assert_eq!(asked(&*site.provider("claude_cli", json!({})), question("s", "Hi!")).await.unwrap().1.content, "half");

    let mut missing = spec("claude_cli", json!({}));
    missing.api_base = "/no/such/claude".into();
    assert_eq!(site.factory().build(missing).err().unwrap().message.to_string(), "program not found: /no/such/claude");
}

#[tokio::test]
async fn an_answer_without_end_is_given_up_with_its_program() {
    let words = "x".repeat(10_000);
    let said = json!({"type": "assistant", "message": {"content": [{"type": "text", "text": words}]}});
    let site = Site::new("claude", &format!("#!/bin/sh\nwhile :; do printf '%s\\n' '{said}' || exit; done\n"));
    for streamed in [true, false] {
        let endless = ChatRequest { stream: streamed, ..question("s", "Hi!") };
        assert_eq!(asked(&*site.provider("claude_cli", json!({})), endless).await.unwrap_err().text, "mine: the answer is too long");
    }
}

#[tokio::test]
async fn whoever_stops_listening_ends_the_program_and_what_it_started() {
    let script = "#!/bin/sh\nexec 9> \"$HOME/pipe\"\nprintf '%s\\n' '{\"type\":\"assistant\",\"message\":{\"content\":[{\"type\":\"text\",\"text\":\"up\"}]}}'\nsh -c 'sleep 1000 & sleep 1000' &\nsleep 1000\n";
    let site = Site::new("claude", script);
    let pipe = site.home.path().join("pipe");
    mkfifo(&pipe, Mode::from_bits_truncate(0o600)).unwrap();
    // Opening waits for the other side, reading for the end of all who hold it.
    let family = std::thread::spawn(move || fs::read_to_string(pipe).unwrap());
    let claude = site.provider("claude_cli", json!({}));
    let mut events = claude.chat(question("s", "Hi!"));
    assert!(matches!(events.next().await, Some(Ok(ChatEvent::Text(text))) if text == "up"));
    drop(events);
    tokio::task::spawn_blocking(|| family.join().unwrap()).await.unwrap();
}

#[tokio::test]
async fn one_conversation_asks_one_question_at_a_time() {
    // A second program in the directory would find the first one's mark.
    let script = "#!/bin/sh\nmkdir \"$(pwd)/busy\" || { echo '{\"type\":\"result\",\"subtype\":\"error\",\"result\":\"two at once\"}'; exit 0; }\nfor i in 1 2 3; do ls / > /dev/null; done\nrmdir busy\necho '{\"type\":\"result\",\"subtype\":\"success\",\"result\":\"alone\"}'\n";
    let site = Site::new("claude", script);
    let claude = site.provider("claude_cli", json!({}));
    let ask = || async { asked(&*claude, question("s", "Hi!")).await.unwrap().1.content };
    let (a, b, c, d) = tokio::join!(ask(), ask(), ask(), ask());
    assert_eq!([a, b, c, d], ["alone"; 4]);
}

#[tokio::test]
async fn who_is_logged_in_is_told() {
    let site = Site::new(
        "claude",
        "#!/bin/sh\n[ \"$*\" = 'auth status --json' ] || exit 9\necho '{\"loggedIn\":true,\"email\":\"ann@example.com\",\"subscriptionType\":\"max\"}'\n",
    );
    let account = goclaw_programs::auth_status("claude", &site.options).await.unwrap();
    assert_eq!((account.logged_in, account.email.as_str(), account.subscription_type.as_str()), (true, "ann@example.com", "max"));
    let site = Site::new("claude", "#!/bin/sh\necho 'not today' >&2\nexit 1\n");
    assert_eq!(goclaw_programs::auth_status("claude", &site.options).await.unwrap_err(), "exit status: 1: not today");
    assert_eq!(goclaw_programs::auth_status("/no/such", &site.options).await.unwrap_err(), "program not found: /no/such");
}
