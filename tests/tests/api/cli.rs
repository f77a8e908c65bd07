//! The commands, as somebody in a shell uses them.

use crate::{
    common::with_fox,
    shell::{Machine, Shell, is_kept_below, mode},
};
use goclaw_tests::{
    Answer, Edition, FakeLlm, Server,
    fake_llm::{DEFAULT_TEXT, Gate},
    server::{GATEWAY_TOKEN, UPSTREAM_KEY, free_port},
    within,
};
use serde_json::{Value, json};
use std::{fs, os::unix::fs::PermissionsExt};
use tokio::io::AsyncReadExt;
use url::Url;

/// The checks of a report as `name: status`.
fn checks(report: &Value) -> String {
    let lines =
        report["checks"].as_array().unwrap().iter().map(|check| format!("{}: {}\n", check["name"].as_str().unwrap(), check["status"].as_str().unwrap()));
    lines.collect()
}

/// The details of the checks that failed.
fn faults(report: &Value) -> String {
    let failed = report["checks"].as_array().unwrap().iter().filter(|check| check["status"] == "failed");
    failed.map(|check| check["detail"].as_str().unwrap()).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn the_version_is_told_in_words_and_in_json() {
    let machine = Machine::new(Edition::Lite).await;
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(machine.run("version").await.expect(0).out, format!("goclaw {version} (protocol 3)\n"));
    assert_eq!(machine.run("version --json").await.expect(0).json(), json!({"name": "goclaw", "version": version, "protocol": 3}));
}

#[tokio::test]
async fn what_is_no_command_is_a_usage_error() {
    let machine = Machine::new(Edition::Lite).await;
    let refused = machine.run("frobnicate").await.expect(2);
    assert_eq!(refused.out, "");
    insta::assert_snapshot!("unknown_command", refused.err);
    for line in ["migrate", "agent chat --json", "version --yaml"] {
        machine.run(line).await.expect(2).says(&["Usage"]);
    }
    assert_eq!(fs::read_dir(&machine.shell.dir).unwrap().count(), 0);
}

#[tokio::test]
async fn a_database_in_use_is_left_alone() {
    let server = Server::start(Edition::Lite).await;
    let mut shell = Shell::beside(&server);
    shell.set("GOCLAW_PORT", &free_port().to_string());
    let holder = format!("in use by process {} ", server.pid());
    for line in ["migrate up", "migrate drop --yes", "", "serve"] {
        assert_eq!(shell.run(line).await.expect(4).says(&[&holder]).out, "");
    }
    shell.run("migrate version").await.expect(0);
    server.owner().get("/v1/agents").await.expect(200);
}

#[tokio::test]
async fn standard_says_what_it_needs() {
    let mut machine = Machine::new(Edition::Standard).await;
    machine.run("").await.expect(4).says(&["goclaw migrate up", "GOCLAW_AUTO_UPGRADE"]);
    machine.run("migrate up").await.expect(0);

    let key = machine.shell.environment["GOCLAW_ENCRYPTION_KEY"].clone();
    machine.shell.unset("GOCLAW_ENCRYPTION_KEY");
    machine.run("").await.expect(1).says(&["set GOCLAW_ENCRYPTION_KEY", "openssl rand -hex 32"]);

    machine.shell.set("GOCLAW_ENCRYPTION_KEY", &key).unset("GOCLAW_POSTGRES_DSN").set("GOCLAW_EDITION", "standard");
    for line in ["", "migrate up"] {
        machine.run(line).await.expect(1).says(&["set GOCLAW_POSTGRES_DSN"]);
    }
}

#[tokio::test]
async fn lite_makes_what_it_needs_at_its_first_start() {
    let mut machine = Machine::new(Edition::Lite).await;
    let written = machine.start().await.stop().await;
    let data = machine.file(".goclaw/data");
    let token_file = data.join("gateway.token");
    let files = ["encryption.key", "gateway.token"].map(|name| fs::read_to_string(data.join(name)).unwrap());
    let token = files[1].trim();

    assert_eq!(written.lines().count(), 1, "{written}");
    assert!(written.contains(&format!(" {} ", machine.address())) && written.contains(&*token_file.to_string_lossy()), "{written}");
    assert!(token.len() >= 32 && !written.contains(token), "{written}");
    assert_eq!((mode(&data), mode(&data.join("encryption.key")), mode(&token_file), mode(&data.join("goclaw.db"))), (0o700, 0o600, 0o600, 0o600));
    assert!(!fs::read_to_string(machine.root.path().join("gateway.log")).unwrap().contains(token));

    machine.start().await.stop().await;
    assert_eq!(files, ["encryption.key", "gateway.token"].map(|name| fs::read_to_string(data.join(name)).unwrap()));
}

#[tokio::test]
async fn a_key_that_others_may_read_is_found_by_the_doctor() {
    let mut machine = Machine::new(Edition::Lite).await;
    machine.start().await.stop().await;
    machine.run("doctor").await.expect(0);
    for name in ["encryption.key", "gateway.token"] {
        let file = machine.file(".goclaw/data").join(name);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let report = machine.run("doctor --json").await.expect(1).json();
        assert_eq!(faults(&report), format!("others may read {0}: chmod 600 {0}", file.display()));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }
}

#[tokio::test]
async fn a_damaged_database_is_found_by_the_doctor() {
    let machine = Machine::new(Edition::Lite).await;
    machine.run("migrate up").await.expect(0);
    machine.run("doctor").await.expect(0);
    fs::write(machine.file(".goclaw/data/goclaw.db"), "no database at all ".repeat(100)).unwrap();
    let report = machine.run("doctor --json").await.expect(1).json();
    assert!(faults(&report).contains("database"), "{report:#}");
}

#[tokio::test]
async fn a_database_that_is_not_there_is_found_by_the_doctor() {
    let mut machine = Machine::new(Edition::Lite).await;
    for dsn in ["postgres://goclaw:pass-of-the-database@127.0.0.1:1/goclaw", "postgres://goclaw:pass-of-the-database@127.0.0.1:none/goclaw"] {
        machine.shell.set("GOCLAW_POSTGRES_DSN", dsn).set("GOCLAW_ENCRYPTION_KEY", &"5e".repeat(32));
        let report = machine.run("doctor --json").await.expect(1).hides(&["pass-of-the-database"]).json();
        assert!(checks(&report).contains("database: failed\n"), "{report:#}");
        machine.run("").await.expect(1).says(&["GOCLAW_POSTGRES_DSN"]).hides(&["pass-of-the-database"]);
    }
}

on_both_editions! {
    async fn a_fresh_database_is_migrated_once(edition) {
        let machine = Machine::new(edition).await;
        let fresh = machine.run("migrate version").await.expect(0).out;
        assert!(fresh.starts_with("0 (a fresh database; this build needs ") && fresh.contains("goclaw migrate up"), "{fresh}");
        assert_eq!(machine.run("migrate version --json").await.expect(0).json()["version"], 0);

        let migrated = machine.run("migrate up").await.expect(0).out;
        let version = migrated.strip_prefix("migrated the schema from version 0 to ").unwrap_or_else(|| panic!("{migrated}")).trim_end();
        assert_eq!(machine.run("migrate up").await.expect(0).out, format!("the schema is up to date (version {version})\n"));
        assert_eq!(machine.run("migrate version").await.expect(0).out, format!("{version}\n"));
        assert_eq!(machine.run("migrate version --json").await.expect(0).json()["version"], json!(version.parse::<i64>().unwrap()));
    }

    async fn the_doctor_finds_a_sound_installation_sound(edition) {
        let server = with_fox(edition).await;
        let spare = "sk-spare-key-that-nobody-may-see";
        server.owner().post("/v1/providers", &json!({"name": "spare", "provider_type": "openai_compat", "api_key": spare, "enabled": true})).await.expect(201);
        let shell = Shell::beside(&server);
        let password = shell.environment.get("GOCLAW_POSTGRES_DSN").and_then(|dsn| Url::parse(dsn).unwrap().password().map(str::to_owned));
        let mut secrets = vec![GATEWAY_TOKEN, UPSTREAM_KEY, spare, &*shell.environment["GOCLAW_ENCRYPTION_KEY"]];
        secrets.extend(password.as_deref());

        let report = shell.run("doctor --json").await.expect(0).hides(&secrets).json();
        assert_eq!((&report["ok"], &report["version"]), (&json!(true), &json!(env!("CARGO_PKG_VERSION"))));
        insta::assert_snapshot!(format!("doctor_{}", edition.name()), checks(&report));
        let text = shell.run("doctor").await.expect(0).hides(&secrets).out;
        assert!(text.contains(&format!("runs at http://127.0.0.1:{}", server.port())), "{text}");
    }

    async fn a_broken_configuration_is_named_and_its_secrets_are_not(edition) {
        let mut machine = Machine::migrated(edition).await;
        let key = "sk-key-in-the-wrong-place";
        for (file, fault) in [
            ("{ gateway: { port: 'many' } }".to_owned(), "gateway.port"),
            (format!("{{ providers: {{ openai: '{key}' }} }}"), "providers.openai"),
            (format!("{{ gateway: {{ token: ['{key}'] }} }}"), "gateway.token"),
            (format!("{{ providers: {{ openai: {{ api_key: '{key}"), "line 1"),
        ] {
            fs::write(machine.file("config.json"), file).unwrap();
            let report = machine.run("doctor --json").await.expect(1).hides(&[key]).json();
            assert_eq!(report["ok"], false);
            assert!(faults(&report).contains(fault), "{report:#}");
            machine.run("doctor").await.expect(1).hides(&[key]);
            machine.run("").await.expect(1).says(&["config.json", fault]).hides(&[key]);
        }
        fs::remove_file(machine.file("config.json")).unwrap();
        machine.shell.set("GOCLAW_PORT", "many");
        assert!(faults(&machine.run("doctor --json").await.expect(1).json()).contains("GOCLAW_PORT"));
    }

    async fn an_answer_is_printed_while_it_comes(edition) {
        let server = with_fox(edition).await;
        let gate = Gate::closed();
        server.llm.next(Answer::text("Hello, fox").chunks(2).gated(&gate));
        let mut chat = Shell::beside(&server).command("agent chat -n fox -m hello").spawn().unwrap();
        gate.pass(1);
        let mut first = [0; 5];
        within("the first half of the answer", chat.stdout.as_mut().unwrap().read_exact(&mut first)).await.unwrap();
        assert_eq!(&first, b"Hello");
        gate.open();
        let output = within("the chat to end", chat.wait_with_output()).await.unwrap();
        assert_eq!((output.status.code(), &*output.stdout, &*output.stderr), (Some(0), &b", fox\n"[..], &b""[..]));
    }

    async fn an_answer_is_told_in_json(edition) {
        let server = with_fox(edition).await;
        let answer = Shell::beside(&server).run("agent chat -n fox -m hello --json").await.expect(0);
        assert_snapshot!("chat", answer.json());
        assert_eq!(answer.json()["content"], DEFAULT_TEXT);
    }

    async fn a_chat_fails_with_a_reason(edition) {
        let mut server = with_fox(edition).await;
        let mut shell = Shell::beside(&server);
        for line in ["agent chat -n nobody -m hello", "agent chat -n nobody -m hello --json"] {
            assert_eq!(shell.run(line).await.expect(4).says(&["agent not found: nobody", "goclaw onboard"]).out, "");
        }
        server.llm.next(Answer::error(400, "the model is on holiday"));
        shell.run("agent chat -n fox -m hello").await.expect(1).says(&["the model's provider failed"]).hides(&[UPSTREAM_KEY]);

        shell.set("GOCLAW_TOKEN", "a-wrong-token-that-nobody-may-see");
        shell.run("agent chat -n fox -m hello").await.expect(4).says(&["does not accept the token"]).hides(&["nobody-may-see"]);
        shell.unset("GOCLAW_TOKEN");

        server.stop().await;
        let address = format!("http://127.0.0.1:{}", shell.environment["GOCLAW_PORT"]);
        shell.run("agent chat -n fox -m hello").await.expect(3).says(&[&address, "start it with `goclaw`"]);
    }

    async fn a_session_is_gone_on_with(edition) {
        let server = with_fox(edition).await;
        let shell = Shell::beside(&server);
        shell.run("agent chat -n fox -s agent:fox:cli:direct:work -m I-am-Ana").await.expect(0);
        shell.run("agent chat -n fox -s agent:fox:cli:direct:work -m who-am-I").await.expect(0);
        shell.run("agent chat -n fox -s agent:fox:cli:direct:play -m who-am-I").await.expect(0);
        let remembered: Vec<_> = server.llm.questions().iter().map(|question| question.texts_of("user").concat().contains("I-am-Ana")).collect();
        assert_eq!(remembered, [true, true, false]);
    }

    async fn lines_of_standard_input_are_said_one_after_another(edition) {
        let server = with_fox(edition).await;
        server.llm.next(Answer::text("one")).next(Answer::error(400, "no")).next(Answer::text("three"));
        let talk = Shell::beside(&server).run_with("agent chat -n fox", "first\n\nsecond\n/new\nthird\nexit\nfourth\n").await.expect(0);
        assert_eq!(talk.out, "one\nthree\n");
        let questions = server.llm.questions();
        assert_eq!(questions.len(), 3);
        assert!(questions[1].texts_of("user").concat().contains("first") && !questions[2].texts_of("user").concat().contains("first"));
    }

    async fn onboarding_is_all_that_a_new_machine_needs(edition) {
        let mut machine = Machine::migrated(edition).await;
        let llm = FakeLlm::start();
        let line = format!("onboard --provider openai_compat --api-key-stdin --api-base {} --model stub --yes", llm.base());
        machine.shell.run_with(&line, &format!("{UPSTREAM_KEY}\n")).await.expect(0).hides(&[UPSTREAM_KEY]);

        let config = machine.file("config.json");
        assert_eq!(mode(&config), 0o600);
        let written: Value = serde_json::from_str(&fs::read_to_string(&config).unwrap()).unwrap();
        let expected = json!({
            "agents": {"defaults": {"provider": "openai", "model": "stub"}},
            "providers": {"openai": {"api_base": llm.base()}},
        });
        assert_eq!(written, expected);
        assert!(!is_kept_below(&machine.shell.dir, UPSTREAM_KEY));

        llm.forget();
        let gateway = machine.start().await;
        assert_eq!(machine.run("agent chat -m hello").await.expect(0).out, format!("{DEFAULT_TEXT}\n"));
        let question = llm.questions().remove(0);
        assert_eq!((question.header("authorization"), &question.body["model"]), (Some(&*format!("Bearer {UPSTREAM_KEY}")), &json!("stub")));
        machine.run("doctor").await.expect(0).hides(&[UPSTREAM_KEY]);
        gateway.stop().await;
    }

    async fn a_running_gateway_is_onboarded_through_its_api(edition) {
        let mut machine = Machine::migrated(edition).await;
        let llm = FakeLlm::start();
        let gateway = machine.start().await;
        let line = format!("onboard --provider openai --api-key-stdin --api-base {} --model stub --yes", llm.base());
        let done = machine.shell.run_with(&line, UPSTREAM_KEY).await.expect(0).hides(&[UPSTREAM_KEY]);
        assert!(done.out.contains("Restart the gateway"), "{}", done.out);
        gateway.stop().await;
        let gateway = machine.start().await;
        assert_eq!(machine.run("agent chat -m hello").await.expect(0).out, format!("{DEFAULT_TEXT}\n"));
        gateway.stop().await;
    }

    async fn a_key_that_the_provider_refuses_is_not_kept(edition) {
        let machine = Machine::migrated(edition).await;
        let llm = FakeLlm::start();
        llm.models(Answer::error(401, "wrong key")).always(Answer::error(401, "wrong key"));
        let line = format!("onboard --provider openai_compat --api-key-stdin --api-base {} --model stub --yes", llm.base());
        machine.shell.run_with(&line, UPSTREAM_KEY).await.expect(1).says(&["does not accept the key"]).hides(&[UPSTREAM_KEY]);
        assert_eq!(fs::read_dir(&machine.shell.dir).unwrap().count(), 0);
        let report = machine.run("doctor --json").await.expect(0).json();
        assert!(!checks(&report).contains("provider: "), "{report:#}");
    }
}
