//! The commands that talk to a running gateway, and those about configuration and schema.

use crate::{
    common::{fox_session, message, with_fox},
    shell::{Machine, Shell},
};
use goclaw_tests::{
    Edition, PATIENCE, Server, Setup,
    server::{GATEWAY_TOKEN, UPSTREAM_KEY, free_port},
    within,
};
use serde_json::{Value, json};
use std::{fs, time::Duration};
use tokio::io::{AsyncBufReadExt, BufReader};

/// Commands that need a gateway.
const NEED_A_GATEWAY: &[&str] = &[
    "agent list",
    "agent add --name fox",
    "agent delete fox --force",
    "sessions list",
    "sessions delete agent:fox:ws:direct:1 --yes",
    "sessions reset agent:fox:ws:direct:1 --yes",
    "pairing list",
    "pairing approve ABCD2345",
    "pairing revoke browser b-1 --yes",
    "api-keys list",
    "api-keys create --name ci --scope operator.read",
    "api-keys revoke 0192f0c1-2345-7000-8000-000000000000 --yes",
    "heartbeat show fox",
    "heartbeat on fox",
    "heartbeat off fox",
    "heartbeat run fox",
    "heartbeat log fox",
    "files get /a",
    "files sign /a",
    "traces list",
    "traces show 0192f0c1-2345-7000-8000-000000000000",
    "traces export 0192f0c1-2345-7000-8000-000000000000",
    "usage",
    "tts status",
    "tts providers",
    "tts say hello",
    "agent export fox",
    "auth status",
    "auth login",
    "auth logout",
    "tenants list",
    "tenants create --name Acme --slug acme",
    "logs",
    "agent chat -m hello",
];

#[tokio::test]
async fn arguments_that_make_no_sense_are_refused_with_the_usage() {
    let machine = Machine::new(Edition::Lite).await;
    for line in [
        "agent add --json",
        "sessions list --limit 0",
        "sessions delete",
        "api-keys create --name x",
        "api-keys create --name x --scope operator.read --expires-in soon",
        "logs --level loud",
        "pairing revoke browser",
        "restore",
        "migrate down",
    ] {
        assert_eq!(machine.run(line).await.expect(2).out, "", "{line}");
    }
}

#[tokio::test]
async fn a_configuration_is_checked() {
    let machine = Machine::new(Edition::Lite).await;
    let path = machine.file("config.json");
    assert_eq!(machine.run("config path").await.expect(0).out, format!("{}\n", path.display()));
    assert_eq!(machine.run("config path --json").await.expect(0).json(), json!({"path": path, "exists": false}));
    machine.run("config validate").await.expect(0);
    fs::write(&path, "{ // mine\n  gateway: { port: 18999 } }").unwrap();
    assert_eq!(machine.run("config path --json").await.expect(0).json()["exists"], true);
    assert_eq!(machine.run("config validate --json").await.expect(0).json(), json!({"ok": true, "path": path}));
    for (text, fault) in [
        ("{ gateway: { port: 'many' } }", "gateway.port"),
        ("{\n  gateway: {\n", "line "),
        ("{ tools: { web_fetch: { policy: 'none' } } }", "tools.web_fetch.policy"),
    ] {
        fs::write(&path, text).unwrap();
        machine.run("config validate").await.expect(1).says(&["config.json", fault]);
        let report = machine.run("config validate --json").await.expect(1).json();
        assert_eq!(report["ok"], false);
        assert!(report["error"].as_str().unwrap().contains(fault), "{report}");
    }
}

#[tokio::test]
async fn a_shown_configuration_hides_its_secrets() {
    let mut machine = Machine::new(Edition::Lite).await;
    let (key, token) = ("sk-openai-0123456789abcdef", "bot-token-of-the-operator-1234");
    machine.shell.set("GOCLAW_OPENAI_API_KEY", key).set("GOCLAW_GATEWAY_TOKEN", "short");
    let file = json!({"gateway": {"port": 18999, "rate_limit_rpm": 7}, "channels": {"telegram": {"enabled": true, "token": token}}});
    fs::write(machine.file("config.json"), file.to_string()).unwrap();
    let shown = machine.run("config show").await.expect(0).hides(&[key, token]).json();
    assert_eq!(shown["providers"]["openai"]["api_key"], "sk-o****cdef");
    assert_eq!(shown["channels"]["telegram"]["token"], "bot-****1234");
    assert_eq!((&shown["gateway"]["token"], &shown["gateway"]["rate_limit_rpm"]), (&json!("****"), &json!(7)));
    assert_eq!(shown["agents"]["defaults"]["max_tool_iterations"], 30, "defaults are shown");
    assert_eq!(machine.run("config show --json").await.expect(0).json(), shown);

    let channels = machine.run("channels list --json").await.expect(0).json();
    let named = |name: &str| channels.as_array().unwrap().iter().find(|channel| channel["name"] == name).unwrap().clone();
    assert_eq!(named("telegram"), json!({"name": "telegram", "enabled": true, "hasCredentials": true}));
    assert_eq!(named("discord"), json!({"name": "discord", "enabled": false, "hasCredentials": false}));
    let table = machine.run("channels list").await.expect(0).hides(&[token]).out;
    assert!(table.starts_with("NAME") && table.contains("telegram"), "{table}");
}

#[tokio::test]
async fn the_models_of_the_configuration_are_listed() {
    let mut machine = Machine::new(Edition::Lite).await;
    assert_eq!(machine.run("models list --json").await.expect(0).json()[0]["status"], "not configured");
    machine.shell.set("GOCLAW_OPENAI_API_KEY", UPSTREAM_KEY).set("GOCLAW_PROVIDER", "openai").set("GOCLAW_MODEL", "gpt-x");
    let models = machine.run("models list --json").await.expect(0).hides(&[UPSTREAM_KEY]).json();
    assert_eq!(models, json!([{"provider": "openai", "model": "gpt-x", "status": "ready"}]));
    let table = machine.run("models list").await.expect(0).out;
    assert!(table.starts_with("PROVIDER") && table.contains("gpt-x"), "{table}");
}

/// The lines of `logs --json`, until one says this.
async fn logged(shell: &Shell, line: &str, needle: &str) -> Vec<Value> {
    let mut child = shell.command(line).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut seen: Vec<Value> = Vec::new();
    while !seen.iter().any(|record| record["message"].as_str().unwrap().contains(needle)) {
        let next = within("a line of the log", lines.next_line()).await.unwrap().unwrap_or_else(|| panic!("the log ended without {needle:?}: {seen:?}"));
        seen.push(serde_json::from_str(&next).unwrap());
    }
    seen
}

on_both_editions! {
    async fn agents_are_made_listed_and_deleted(edition) {
        let server = Server::start(edition).await;
        let shell = Shell::beside(&server);
        assert_eq!(shell.run("agent list --json").await.expect(0).json(), json!([]));
        assert!(shell.run("agent list").await.expect(0).out.contains("goclaw agent add"));

        let made = shell.run("agent add --name Fox! --display-name Reynard --provider openai --model stub --json").await.expect(0).json();
        assert_eq!((&made["id"], &made["displayName"], &made["provider"], &made["model"], &made["isDefault"]), (&json!("fox"), &json!("Reynard"), &json!("openai"), &json!("stub"), &json!(false)));
        let listed = shell.run("agent list --json").await.expect(0).json();
        assert_eq!(listed, json!([made]));
        let table = shell.run("agent list").await.expect(0).out;
        assert!(table.starts_with("ID") && table.lines().nth(1).unwrap().starts_with("fox") && table.contains("Reynard"), "{table}");
        shell.run("agent chat -n fox -m hello").await.expect(0);

        shell.run("agent add --name fox").await.expect(4).says(&["already exists"]);
        shell.run("agent delete nobody --force").await.expect(4).says(&["not found"]);
        shell.run("agent delete default --force").await.expect(4).says(&["default"]);
        shell.run("agent delete fox").await.expect(4).says(&["--yes"]);
        assert_eq!(shell.run("agent delete fox --force --json").await.expect(0).json(), json!({"deleted": "fox"}));
        assert_eq!(shell.run("agent list --json").await.expect(0).json(), json!([]));
    }

    async fn sessions_are_listed_reset_and_deleted(edition) {
        let server = with_fox(edition).await;
        let shell = Shell::beside(&server);
        assert_eq!(shell.run("sessions list").await.expect(0).out, "There are no sessions.\n");
        let mut socket = server.owner_socket().await;
        for name in ["one", "two"] {
            socket.call("chat.send", &message(&fox_session(name), "hello")).await.unwrap();
        }
        let listed = shell.run("sessions list --json").await.expect(0).json();
        assert_eq!((&listed[0]["key"], &listed[1]["key"], &listed[0]["messageCount"]), (&json!(fox_session("two")), &json!(fox_session("one")), &json!(2)));
        assert_eq!(shell.run("sessions list --json --agent nobody").await.expect(0).json(), json!([]));
        let table = shell.run("sessions list --limit 1").await.expect(0).out;
        assert!(table.contains(&fox_session("two")) && table.contains("1 of 2"), "{table}");

        shell.run(&format!("sessions reset {}", fox_session("one"))).await.expect(4).says(&["--yes"]);
        shell.run(&format!("sessions reset {} --yes", fox_session("one"))).await.expect(0);
        shell.run(&format!("sessions delete {} --yes --json", fox_session("two"))).await.expect(0);
        let listed = shell.run("sessions list --json").await.expect(0).json();
        assert_eq!((listed.as_array().unwrap().len(), &listed[0]["key"], &listed[0]["messageCount"]), (1, &json!(fox_session("one")), &json!(0)));
    }

    async fn an_api_key_works_until_it_is_revoked(edition) {
        let server = with_fox(edition).await;
        let shell = Shell::beside(&server);
        let created = shell.run("api-keys create --name ci --scope operator.read,operator.write --expires-in 1h --json").await.expect(0).json();
        let key = created["key"].as_str().unwrap().to_owned();
        server.with_key(&key).user("ana").get("/v1/agents").await.expect(200);
        let listed = shell.run("api-keys list --json").await.expect(0).hides(&[&key]).json();
        assert_eq!((&listed[0]["name"], &listed[0]["id"]), (&json!("ci"), &created["id"]));
        shell.run("api-keys list").await.expect(0).hides(&[&key]);
        let plain = shell.run("api-keys create --name plain --scope operator.read").await.expect(0).out;
        server.with_key(plain.trim()).user("ana").get("/v1/agents").await.expect(200);

        let id = created["id"].as_str().unwrap();
        shell.run(&format!("api-keys revoke {id}")).await.expect(4).says(&["--yes"]);
        shell.run(&format!("api-keys revoke {id} --yes")).await.expect(0);
        server.with_key(&key).user("ana").get("/v1/agents").await.expect_error(401);
        shell.run("api-keys revoke 0192f0c1-2345-7000-8000-000000000000 --yes").await.expect(4).says(&["not found"]);
        shell.run("api-keys create --name x --scope nonsense").await.expect(4).says(&["nonsense"]);
    }

    async fn tenants_are_made_and_listed(edition) {
        let server = Server::start(edition).await;
        let shell = Shell::beside(&server);
        let made = shell.run("tenants create --name Acme --slug acme --json").await.expect(0).json();
        let listed = shell.run("tenants list --json").await.expect(0).json();
        assert!(listed.as_array().unwrap().iter().any(|tenant| tenant["id"] == made["id"] && tenant["slug"] == "acme"), "{listed}");
        shell.run("tenants create --name Acme --slug acme").await.expect(4).says(&["already exists"]);
        assert!(shell.run("tenants list").await.expect(0).out.contains("acme"));
    }

    async fn a_browser_is_let_in_and_shut_out(edition) {
        let server = Server::start(edition).await;
        let shell = Shell::beside(&server);
        let mut browser = server.socket().await;
        let asked = browser.call("connect", &json!({"user_id": "mai"})).await.unwrap();
        let code = asked["pairing_code"].as_str().unwrap_or_else(|| panic!("{asked}")).to_owned();
        let listed = shell.run("pairing list --json").await.expect(0).json();
        assert_eq!(listed["pending"][0]["code"], code.as_str(), "{listed}");
        assert!(shell.run("pairing list").await.expect(0).out.contains(&code));

        shell.run("pairing approve").await.expect(2).says(&["goclaw pairing approve CODE"]);
        shell.run("pairing approve NOTACODE").await.expect(4);
        shell.run(&format!("pairing approve {code} --json")).await.expect(0);
        shell.run("pairing approve").await.expect(4).says(&["nobody asks"]);
        let paired = shell.run("pairing list --json").await.expect(0).json();
        let device = &paired["paired"][0];
        let sender = device["sender_id"].as_str().or(device["senderId"].as_str()).unwrap_or_else(|| panic!("{paired}"));
        shell.run(&format!("pairing revoke browser {sender}")).await.expect(4).says(&["--yes"]);
        shell.run(&format!("pairing revoke browser {sender} --yes")).await.expect(0);
        assert_eq!(shell.run("pairing list --json").await.expect(0).json()["paired"], json!([]));
        shell.run(&format!("pairing revoke browser {sender} --yes")).await.expect(4);
    }

    async fn the_log_of_the_gateway_is_shown(edition) {
        let server = Server::start(edition).await;
        let shell = Shell::beside(&server);
        let records = logged(&shell, "logs --json", "").await;
        assert!(records[0]["timestamp"].is_i64() && records[0]["level"].is_string(), "{records:?}");
        shell.run("logs --level debug").await.expect(0).hides(&[GATEWAY_TOKEN, UPSTREAM_KEY]);

        let mut follower = shell.command("logs --follow --json").spawn().unwrap();
        let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
        within("the first line", lines.next_line()).await.unwrap().unwrap();
        assert!(follower.try_wait().unwrap().is_none(), "it goes on");
    }

    async fn without_a_gateway_the_exit_code_is_3(edition) {
        let machine = Machine::migrated(edition).await;
        for line in NEED_A_GATEWAY {
            assert_eq!(machine.run(line).await.expect(3).says(&[&machine.address()]).out, "", "{line}");
        }
    }

    async fn a_wrong_token_is_refused_with_4(edition) {
        let server = Server::start(edition).await;
        let mut shell = Shell::beside(&server);
        shell.set("GOCLAW_TOKEN", "a-wrong-token-that-nobody-may-see");
        for line in NEED_A_GATEWAY {
            shell.run(line).await.expect(4).says(&["does not accept the token"]).hides(&["nobody-may-see"]);
        }
    }

    async fn an_installation_is_upgraded_and_its_schema_dropped(edition) {
        let machine = Machine::new(edition).await;
        let status = machine.run("upgrade --status --json").await.expect(0).json();
        assert_eq!((&status["version"], &status["pending"]), (&json!(0), &status["newest"]));
        let planned = machine.run("upgrade --dry-run").await.expect(0).out;
        assert!(planned.starts_with("would migrate the schema from version 0 to "), "{planned}");
        assert_eq!(machine.run("migrate version --json").await.expect(0).json()["version"], 0, "nothing was done");
        machine.run("migrate drop --yes").await.expect(4);

        assert_eq!(machine.run("upgrade --json").await.expect(0).json(), json!({"from": 0, "to": status["newest"]}));
        assert!(machine.run("upgrade").await.expect(0).out.starts_with("the schema is up to date"));
        assert_eq!(machine.run("upgrade --status --json").await.expect(0).json()["pending"], 0);

        machine.run("migrate drop").await.expect(4).says(&["--yes"]);
        assert_eq!(machine.run("migrate drop --yes --json").await.expect(0).json(), json!({"dropped": true}));
        assert_eq!(machine.run("migrate version --json").await.expect(0).json()["version"], 0);
        machine.run("migrate up").await.expect(0);
    }

    async fn a_schema_in_use_is_not_dropped(edition) {
        let server = with_fox(edition).await;
        let mut shell = Shell::beside(&server);
        shell.set("GOCLAW_PORT", &free_port().to_string());
        shell.run("migrate drop --yes").await.expect(4);
        server.owner().get("/v1/agents/fox").await.expect(200);
    }

    async fn the_doctor_finds_a_key_that_opens_nothing(edition) {
        let mut server = Server::start(edition).await;
        server.stop().await;
        let mut shell = Shell::beside(&server);
        shell.set("GOCLAW_ENCRYPTION_KEY", &"ab".repeat(32));
        let report = shell.run("doctor --json").await.expect(1).json();
        let failed: Vec<_> = report["checks"].as_array().unwrap().iter().filter(|check| check["status"] == "failed").collect();
        assert!(failed.iter().any(|check| check["name"] == "secrets"), "{failed:?}");
    }

    async fn the_doctor_names_each_provider_once(edition) {
        let server = Server::start(edition).await;
        server.owner().post("/v1/providers", &json!({"name": "spare", "provider_type": "openai_compat", "api_key": "sk-spare", "enabled": true})).await.expect(201);
        let report = Shell::beside(&server).run("doctor --json").await.expect(0).json();
        let named = report["checks"].as_array().unwrap().iter().filter(|check| check["name"] == "provider" && check["detail"].as_str().unwrap().starts_with("spare ")).count();
        assert_eq!(named, 1, "{report:#}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_token_of_the_secret_store_is_found() {
    let setup = Setup::new(Edition::Standard).await.without_env("GOCLAW_GATEWAY_TOKEN").config(json!({"gateway": {"token": GATEWAY_TOKEN}}));
    let mut server = setup.start().await;
    let token = "a-token-that-is-kept-in-the-secret-store";
    let mut socket = server.owner_socket().await;
    socket.call("config.patch", &json!({"raw": json!({"gateway": {"token": token}}).to_string()})).await.unwrap();
    drop(socket);
    server.stop().await;
    fs::write(server.dir().join("config.json5"), r#"{"agents": {"defaults": {"provider": "openai", "model": "stub"}}}"#).unwrap();
    server.restart().await;
    let shell = Shell::beside(&server);
    let listed = tokio::time::timeout(PATIENCE + Duration::from_secs(5), shell.run("agent list --json")).await.unwrap();
    assert_eq!(listed.expect(0).hides(&[token]).json(), json!([]));
}
