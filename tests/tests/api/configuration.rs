//! `config.get`, `config.apply`, `config.patch`, `config.schema`, and edits of the file.

use crate::common::{Tenants, ask, create_agent};
use goclaw_tests::{Edition, Server, Setup, WsClient, eventually, server::GATEWAY_TOKEN};
use serde_json::{Value, json};
use std::{fs, path::PathBuf};

const SECRETS: [&str; 6] = ["sk-file-0001-groq", "brave-0002-key", "voice-0003-key", "bot-0004-token", "header-0005-value", "env-0006-value"];

/// A configuration file with a secret in every corner.
fn with_secrets() -> Value {
    json!({
        "providers": {"groq": {"api_key": SECRETS[0]}},
        "tools": {"web": {"brave": {"api_key": SECRETS[1]}}, "mcp_servers": {"x": {"transport": "stdio", "command": "true", "env": {"KEY": SECRETS[5]}}}},
        "tts": {"openai": {"api_key": SECRETS[2]}},
        "channels": {"telegram": {"enabled": false, "token": SECRETS[3]}},
        "telemetry": {"headers": {"authorization": SECRETS[4]}},
        "mine": {"note": "kept"},
    })
}

fn file(server: &Server) -> PathBuf {
    server.dir().join("config.json5")
}

fn text(server: &Server) -> String {
    fs::read_to_string(file(server)).unwrap()
}

async fn get(socket: &mut WsClient) -> Value {
    socket.call("config.get", &json!({})).await.unwrap()
}

async fn patch(socket: &mut WsClient, raw: &str) -> Value {
    socket.call("config.patch", &json!({"raw": raw})).await.unwrap()
}

async fn rate_limit(socket: &mut WsClient) -> Value {
    get(socket).await["config"]["gateway"]["rate_limit_rpm"].take()
}

async fn started(edition: Edition, config: Value) -> (Server, WsClient) {
    let server = Setup::new(edition).await.config(config).start().await;
    let socket = server.owner_socket().await;
    (server, socket)
}

on_both_editions! {
    async fn only_owners_see_and_change_it(edition) {
        let tenants = Tenants::start(edition).await;
        let before = text(&tenants.server);
        for mut socket in [tenants.socket(&tenants.system, "system").await, tenants.socket(&tenants.a_viewer, "mai").await, tenants.server.socket_as("bob").await] {
            for method in ["config.get", "config.apply", "config.patch", "config.schema"] {
                let refused = socket.call(method, &json!({"raw": "{gateway: {rate_limit_rpm: 1}}"})).await.unwrap_err();
                assert_eq!(refused.code, "UNAUTHORIZED", "{method}");
            }
        }
        assert_eq!(text(&tenants.server), before);
    }

    async fn what_holds_is_shown_with_defaults_and_without_secrets(edition) {
        let (server, mut socket) = started(edition, with_secrets()).await;
        let got = get(&mut socket).await;
        let shown = got.to_string();
        for secret in SECRETS.iter().chain(&[GATEWAY_TOKEN, goclaw_tests::server::UPSTREAM_KEY]) {
            assert!(!shown.contains(secret), "{secret} is shown");
        }
        let config = &got["config"];
        assert_eq!((&config["gateway"]["token"], &config["providers"]["groq"]["api_key"], &config["providers"]["openai"]["api_key"]), (&json!("***"), &json!("***"), &json!("***")));
        assert_eq!((&config["mine"]["note"], &config["gateway"]["max_message_chars"], &config["tools"]["browser"]["enabled"]), (&json!("kept"), &json!(32_000), &json!(true)));
        assert_eq!(got["hash"].as_str().unwrap().len(), 16);
        assert_eq!(got["path"], file(&server).to_string_lossy().as_ref());
    }

    async fn a_patch_changes_what_it_names_and_takes_secrets_out_of_the_file(edition) {
        let (mut server, mut socket) = started(edition, with_secrets()).await;
        let before = get(&mut socket).await;
        let changed = patch(&mut socket, "// comments are fine\n{gateway: {rate_limit_rpm: 7, tool_status: false,}, tts: {openai: {api_key: 'voice-0007-new'}}}").await;
        assert_eq!((&changed["ok"], &changed["restart"]), (&json!(true), &json!(false)));
        assert_eq!((&changed["config"]["gateway"]["rate_limit_rpm"], &changed["config"]["tts"]["openai"]["api_key"]), (&json!(7), &json!("***")));
        assert_ne!(changed["hash"], before["hash"]);
        assert_eq!(get(&mut socket).await["hash"], changed["hash"]);
        let written = text(&server);
        for secret in SECRETS.iter().chain(&["voice-0007-new", GATEWAY_TOKEN]) {
            assert!(!written.contains(secret), "{secret} is in the file");
        }
        assert!(written.contains("\"kept\"") && written.contains("\"tool_status\": false"), "{written}");
        server.stop().await;
        server.restart().await;
        let config = get(&mut server.owner_socket().await).await["config"].take();
        assert_eq!((&config["gateway"]["rate_limit_rpm"], &config["providers"]["groq"]["api_key"], &config["mine"]["note"]), (&json!(7), &json!("***"), &json!("kept")));
    }

    async fn an_explicit_zero_is_kept(edition) {
        let (mut server, mut socket) = started(edition, json!({})).await;
        patch(&mut socket, "{gateway: {rate_limit_rpm: 5}}").await;
        patch(&mut socket, "{gateway: {rate_limit_rpm: 0}}").await;
        assert_eq!(rate_limit(&mut socket).await, 0);
        server.stop().await;
        server.restart().await;
        assert_eq!(rate_limit(&mut server.owner_socket().await).await, 0);
    }

    async fn null_removes_and_a_map_entry_is_replaced_whole(edition) {
        let (_server, mut socket) = started(edition, json!({"agents": {"list": {"fox": {"model": "m", "provider": "p"}}}, "mine": {"a": 1, "b": 2}})).await;
        let changed = patch(&mut socket, "{agents: {list: {fox: {model: 'n'}}}, mine: {a: null}, gateway: {rate_limit_rpm: null}}").await;
        assert_eq!((&changed["config"]["agents"]["list"]["fox"], &changed["config"]["mine"]), (&json!({"model": "n"}), &json!({"b": 2})));
        assert_eq!(changed["config"]["gateway"]["rate_limit_rpm"], 20);
    }

    async fn a_stale_hash_changes_nothing_and_of_two_patches_one_wins(edition) {
        let (server, mut socket) = started(edition, json!({})).await;
        let hash = get(&mut socket).await["hash"].clone();
        let before = text(&server);
        let refused = socket.call("config.patch", &json!({"raw": "{gateway: {rate_limit_rpm: 1}}", "baseHash": "0123456789abcdef"})).await.unwrap_err();
        assert_eq!(refused.code, "INVALID_REQUEST");
        assert_eq!(text(&server), before);

        let mut other = server.owner_socket().await;
        let change = |rpm: u32| json!({"raw": format!("{{gateway: {{rate_limit_rpm: {rpm}}}}}"), "baseHash": hash});
        let (one, two) = (change(11), change(12));
        let (one, two) = tokio::join!(socket.call("config.patch", &one), other.call("config.patch", &two));
        assert_eq!(u32::from(one.is_ok()) + u32::from(two.is_ok()), 1, "{one:?} {two:?}");
        let winner = if one.is_ok() { 11 } else { 12 };
        assert_eq!(rate_limit(&mut socket).await, winner);
    }

    async fn what_cannot_be_used_is_refused_with_its_place(edition) {
        let (server, mut socket) = started(edition, json!({})).await;
        let before = (text(&server), get(&mut socket).await);
        for (raw, place) in [
            ("{gateway: {port: 'many'}}", "gateway.port"),
            ("{gateway: {rate_limit_rpm: -5}}", "gateway.rate_limit_rpm"),
            ("{gateway: {injection_action: 'panic'}}", "gateway.injection_action"),
            ("{gateway: ", "line 1"),
            ("[]", "object"),
        ] {
            for method in ["config.patch", "config.apply"] {
                let refused = socket.call(method, &json!({"raw": raw})).await.unwrap_err();
                assert_eq!(refused.code, "INVALID_REQUEST", "{method} {raw}");
                assert!(refused.message.contains(place), "{method} {raw}: {}", refused.message);
            }
        }
        for method in ["config.patch", "config.apply"] {
            assert_eq!(socket.call(method, &json!({"raw": " "})).await.unwrap_err().code, "INVALID_REQUEST");
            assert_eq!(socket.call(method, &json!({})).await.unwrap_err().code, "INVALID_REQUEST");
        }
        assert_eq!((text(&server), get(&mut socket).await), before);
    }

    async fn the_mask_keeps_what_is_stored(edition) {
        let server = Setup::new(edition).await.without_env("GOCLAW_GATEWAY_TOKEN").config(json!({"gateway": {"token": GATEWAY_TOKEN}})).start().await;
        let mut socket = server.owner_socket().await;
        let whole = get(&mut socket).await["config"].to_string();
        socket.call("config.apply", &json!({"raw": whole})).await.unwrap();
        assert_eq!(server.owner().get("/v1/agents").await.status, 200, "the token that was in the file still opens");
        patch(&mut socket, "{gateway: {token: '***', rate_limit_rpm: 3}}").await;
        assert!(!text(&server).contains(GATEWAY_TOKEN));
        assert_eq!(server.owner().get("/v1/agents").await.status, 200);
        assert_eq!(rate_limit(&mut server.owner_socket().await).await, 3);
    }

    async fn a_new_token_holds_at_once_and_after_a_restart(edition) {
        let mut server = Setup::new(edition).await.without_env("GOCLAW_GATEWAY_TOKEN").config(json!({"gateway": {"token": GATEWAY_TOKEN}})).start().await;
        let token = "another-gateway-token-of-the-test-0123456789";
        patch(&mut server.owner_socket().await, &format!("{{gateway: {{token: '{token}'}}}}")).await;
        assert_eq!(server.owner().get("/v1/agents").await.status, 401);
        assert_eq!(server.anonymous().token(token).user("system").get("/v1/agents").await.status, 200);
        server.stop().await;
        server.restart().await;
        assert_eq!(server.anonymous().token(token).user("system").get("/v1/agents").await.status, 200);
        assert!(!text(&server).contains(token));
    }

    async fn an_edit_by_hand_is_live_and_a_broken_one_changes_nothing(edition) {
        let (server, mut socket) = started(edition, json!({})).await;
        fs::write(file(&server), "{ gateway: { rate_limit_rpm: 41 } } // by hand").unwrap();
        eventually("the edit holds", async || rate_limit(&mut server.owner_socket().await).await == 41).await;
        fs::write(file(&server), "{ gateway: { rate_limit_rpm: ").unwrap();
        eventually("the fault is in the log", async || server.log().contains("the configuration file cannot be used")).await;
        assert_eq!(rate_limit(&mut socket).await, 41);
        // An editor that writes beside it and renames.
        fs::write(server.dir().join("new"), "{ gateway: { rate_limit_rpm: 42 } }").unwrap();
        fs::rename(server.dir().join("new"), file(&server)).unwrap();
        eventually("the new file holds", async || rate_limit(&mut server.owner_socket().await).await == 42).await;
    }

    async fn an_edit_that_nobody_has_read_yet_is_not_lost(edition) {
        let (server, mut socket) = started(edition, json!({})).await;
        let hash = get(&mut socket).await["hash"].clone();
        fs::write(file(&server), "{ mine: { note: 'by hand' } }").unwrap();
        let stale = socket.call("config.patch", &json!({"raw": "{gateway: {rate_limit_rpm: 8}}", "baseHash": hash})).await.unwrap_err();
        assert_eq!(stale.code, "INVALID_REQUEST");
        let changed = patch(&mut socket, "{gateway: {rate_limit_rpm: 8}}").await;
        assert_eq!((&changed["config"]["mine"]["note"], &changed["config"]["gateway"]["rate_limit_rpm"]), (&json!("by hand"), &json!(8)));
        assert!(text(&server).contains("by hand"));
    }

    async fn a_file_that_cannot_be_read_is_not_patched_but_can_be_replaced(edition) {
        let (server, mut socket) = started(edition, json!({})).await;
        let broken = "{ gateway: { rate_limit_rpm: 5, } // half";
        fs::write(file(&server), broken).unwrap();
        let refused = socket.call("config.patch", &json!({"raw": "{gateway: {rate_limit_rpm: 8}}"})).await.unwrap_err();
        assert_eq!(refused.code, "INVALID_REQUEST");
        assert!(refused.message.contains("line 1"), "{}", refused.message);
        assert_eq!(text(&server), broken);
        socket.call("config.apply", &json!({"raw": "{gateway: {rate_limit_rpm: 9}}"})).await.unwrap();
        assert_eq!(rate_limit(&mut socket).await, 9);
    }

    async fn what_the_environment_gives_is_not_copied(edition) {
        let mut server = Setup::new(edition).await.env("GOCLAW_TTS_OPENAI_API_KEY", "voice-0009-env").env("GOCLAW_OWNER_IDS", "system,env-owner").start().await;
        let mut socket = server.owner_socket().await;
        let whole = get(&mut socket).await["config"].to_string();
        assert!(whole.contains("env-owner") && !whole.contains("voice-0009-env"));
        socket.call("config.apply", &json!({"raw": whole})).await.unwrap();
        patch(&mut socket, "{tts: {openai: {api_key: 'voice-0009-env'}}}").await;
        assert!(!text(&server).contains("env-owner"), "{}", text(&server));
        server.stop().await;
        server.set_env("GOCLAW_TTS_OPENAI_API_KEY", "");
        server.set_env("GOCLAW_OWNER_IDS", "");
        server.restart().await;
        let config = get(&mut server.owner_socket().await).await["config"].take();
        assert!(config["tts"]["openai"]["api_key"].is_null(), "{}", config["tts"]);
        assert!(config["gateway"]["owner_ids"].is_null());
    }

    async fn the_last_token_cannot_be_taken_away(edition) {
        let server = Setup::new(edition).await.without_env("GOCLAW_GATEWAY_TOKEN").config(json!({"gateway": {"token": GATEWAY_TOKEN}})).start().await;
        let mut socket = server.owner_socket().await;
        let refused = socket.call("config.patch", &json!({"raw": "{gateway: {token: null}}"})).await.unwrap_err();
        assert_eq!(refused.code, "INVALID_REQUEST");
        assert!(refused.message.contains("gateway.token"), "{}", refused.message);
        fs::write(file(&server), "{ gateway: { rate_limit_rpm: 4 } }").unwrap();
        eventually("the edit is refused", async || server.log().contains("the configuration file cannot be used")).await;
        assert_eq!(server.anonymous().user("system").get("/v1/agents").await.status, 401);
        assert_eq!(server.owner().get("/v1/agents").await.status, 200);
    }

    async fn a_removed_server_takes_its_secrets_along(edition) {
        let (_server, mut socket) = started(edition, with_secrets()).await;
        let kept = patch(&mut socket, "{tools: {mcp_servers: {x: {transport: 'stdio', command: 'false', env: {KEY: '***'}}}}}").await;
        assert_eq!(kept["config"]["tools"]["mcp_servers"]["x"]["env"], json!({"KEY": "***"}));
        patch(&mut socket, "{tools: {mcp_servers: {x: null}}}").await;
        let again = patch(&mut socket, "{tools: {mcp_servers: {x: {transport: 'stdio', command: 'true'}}}}").await;
        assert_eq!(again["config"]["tools"]["mcp_servers"]["x"], json!({"transport": "stdio", "command": "true"}));
    }

    async fn a_changed_provider_is_asked_at_once(edition) {
        let server = Setup::new(edition).await.without_env("GOCLAW_OPENAI_API_KEY").start().await;
        let mut socket = server.owner_socket().await;
        let changed = patch(&mut socket, "{providers: {openai: {api_key: 'sk-0010-live'}}, agents: {defaults: {provider: 'openai'}}}").await;
        assert_eq!(changed["config"]["providers"]["openai"]["api_key"], "***");
        create_agent(&server.owner(), "fox").await;
        ask(&server.owner(), "fox", "hello").await;
        let asked = server.llm.requests();
        assert!(asked.iter().any(|request| request.header("authorization") == Some("Bearer sk-0010-live")), "the new key is used");
    }

    async fn the_schema_describes_every_section(edition) {
        let (_server, mut socket) = started(edition, json!({})).await;
        let schema = socket.call("config.schema", &json!({})).await.unwrap()["json"].take();
        assert_eq!(schema["type"], "object");
        for section in ["agents", "channels", "providers", "gateway", "tools", "sessions"] {
            assert_eq!(schema["properties"][section]["type"], "object", "{section}");
            assert!(schema["properties"][section]["description"].is_string(), "{section}");
        }
    }

    async fn changes_are_audited_without_values_and_reach_nobody_as_events(edition) {
        let (server, mut socket) = started(edition, json!({})).await;
        let mut other = server.owner_socket().await;
        patch(&mut socket, "{tts: {openai: {api_key: 'voice-0008-key'}}, gateway: {rate_limit_rpm: 9}}").await;
        assert_eq!(other.events_until_now().await, Vec::<Value>::new());
        let logs = server.owner().get("/v1/activity?action=config.patched").await.expect(200);
        let entry = &logs["logs"][0];
        assert_eq!((&entry["entity_type"], &entry["entity_id"], &entry["actor_id"]), (&json!("config"), &json!("gateway"), &json!("system")));
        assert_eq!(entry["details"]["sections"], json!(["gateway", "tts"]));
        assert!(!logs.to_string().contains("voice-0008-key"));
    }

    async fn a_crash_while_it_changes_leaves_a_whole_file(edition) {
        let (mut server, mut socket) = started(edition, json!({"mine": {"filler": "x".repeat(20_000)}})).await;
        for round in 0..4_u32 {
            patch(&mut socket, &format!("{{gateway: {{rate_limit_rpm: {}}}}}", 100 + round)).await;
            for rpm in 0..10 {
                socket.send("config.patch", &json!({"raw": format!("{{gateway: {{rate_limit_rpm: {}}}}}", 200 + rpm)})).await;
            }
            server.crash().await;
            server.restart().await;
            socket = server.owner_socket().await;
            let limit = rate_limit(&mut socket).await.as_u64().unwrap();
            assert!(limit == u64::from(100 + round) || (200..210).contains(&limit), "{limit}");
            assert_eq!(get(&mut socket).await["config"]["mine"]["filler"].as_str().unwrap().len(), 20_000);
        }
    }
}
