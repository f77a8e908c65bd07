//! `tts.*` and the tool `tts`.

use crate::common::{Tenants, create_agent, fox_session, message};
use goclaw_tests::{Answer, Edition, Server, Setup, WsClient};
use serde_json::{Value, json};
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const KEY: &str = "voice-key-0001";
const MP3: &[u8] = b"\xff\xfb\x90 something spoken";

/// A gateway whose only service is MiniMax at the scripted upstream, and which says nothing by itself.
async fn with_minimax(edition: Edition) -> Setup {
    let setup = Setup::new(edition).await;
    let base = setup.llm.base();
    setup.config(json!({"tts": {"edge": {"enabled": false}, "minimax": {"api_base": base, "group_id": "group-7"}}})).env("GOCLAW_TTS_MINIMAX_API_KEY", KEY)
}

/// The file that a conversion answered with a link to.
fn file_of(converted: &Value) -> PathBuf {
    path_of(&converted["audioPath"])
}

/// The file that a link leads to.
fn path_of(link: &Value) -> PathBuf {
    let (path, token) = link.as_str().unwrap().split_once("?ft=").unwrap();
    assert!(!token.is_empty());
    path.strip_prefix("/v1/files").unwrap().into()
}

/// MiniMax speaks.
fn spoken() -> Answer {
    Answer::raw(json!({"data": {"audio": hex::encode(MP3)}, "base_resp": {"status_code": 0}}).to_string())
}

/// How often the upstream was asked to speak.
fn asked(server: &Server) -> usize {
    server.llm.requests().iter().filter(|request| request.path.contains("/t2a_v2")).count()
}

async fn refused(socket: &mut WsClient, method: &str, params: Value) -> String {
    socket.call(method, &params).await.unwrap_err().code
}

/// Puts a program there. Another process writes it: one that is being forked could still hold it open when it is started.
fn install(program: &Path, script: &str) {
    let mut writing = Command::new("/bin/sh").arg("-c").arg("cat > \"$0\" && chmod 755 \"$0\"").arg(program).stdin(Stdio::piped()).spawn().unwrap();
    writing.stdin.take().unwrap().write_all(format!("#!/bin/sh\n{script}\n").as_bytes()).unwrap();
    assert!(writing.wait().unwrap().success());
}

on_both_editions! {
    async fn viewers_are_told_how_it_is_set_up(edition) {
        let tenants = Tenants::start(edition).await;
        let mut socket = tenants.socket(&tenants.a_viewer, "mai").await;
        assert_snapshot!("status", socket.call("tts.status", &json!({})).await.unwrap());
        assert_snapshot!("providers", socket.call("tts.providers", &json!({})).await.unwrap());
    }

    async fn it_is_switched_on_and_off_and_comes_back_as_it_was(edition) {
        let mut server = Server::start(edition).await;
        let mut socket = server.owner_socket().await;
        assert_eq!(socket.call("tts.enable", &json!({})).await.unwrap(), json!({"enabled": true, "auto": "always"}));
        let config = socket.call("config.get", &json!({})).await.unwrap()["config"].take();
        assert_eq!(config["tts"]["auto"], "always");
        assert_eq!(socket.call("tts.enable", &json!({"auto": "tagged"})).await.unwrap()["auto"], "tagged");
        assert_eq!(socket.call("tts.enable", &json!({})).await.unwrap()["auto"], "tagged");
        assert_eq!(socket.call("tts.disable", &json!({})).await.unwrap(), json!({"enabled": false}));
        assert_eq!(socket.call("tts.disable", &json!({})).await.unwrap(), json!({"enabled": false}));
        let status = socket.call("tts.status", &json!({})).await.unwrap();
        assert_eq!((&status["enabled"], &status["auto"]), (&json!(false), &json!("off")));
        for auto in ["off", "often"] {
            assert_eq!(refused(&mut socket, "tts.enable", json!({"auto": auto})).await, "INVALID_REQUEST");
        }
        assert!(fs::read_to_string(server.dir().join("config.json5")).unwrap().contains("\"auto\": \"off\""));
        server.stop().await;
        server.restart().await;
        let mut socket = server.owner_socket().await;
        assert_eq!(socket.call("tts.enable", &json!({})).await.unwrap()["auto"], "tagged");
        assert_eq!(socket.call("tts.status", &json!({})).await.unwrap()["enabled"], true);
    }

    async fn a_tenants_admin_decides_for_their_tenant_only(edition) {
        let tenants = Tenants::start_with(with_minimax(edition).await).await;
        let before = fs::read_to_string(tenants.server.dir().join("config.json5")).unwrap();
        let (mut a, mut b) = (tenants.socket(&tenants.a_admin, "mai").await, tenants.socket(&tenants.b_admin, "lan").await);
        let mut owner = tenants.server.owner_socket().await;
        a.call("tts.enable", &json!({"auto": "inbound"})).await.unwrap();
        a.call("tts.setProvider", &json!({"provider": "minimax"})).await.unwrap();
        let auto = async |socket: &mut WsClient| socket.call("tts.status", &json!({})).await.unwrap()["auto"].clone();
        assert_eq!((auto(&mut a).await, auto(&mut b).await, auto(&mut owner).await), (json!("inbound"), json!("off"), json!("off")));
        assert_eq!(fs::read_to_string(tenants.server.dir().join("config.json5")).unwrap(), before, "the installation's configuration is not theirs");
        let values = tenants.client(&tenants.a_viewer, "mai").get("/v1/system-configs").await.expect(200);
        assert_eq!((&values["tts.auto"], &values["tts.provider"]), (&json!("inbound"), &json!("minimax")));
        // The owner's word holds for whoever said nothing.
        owner.call("tts.enable", &json!({})).await.unwrap();
        assert_eq!((auto(&mut a).await, auto(&mut b).await, auto(&mut owner).await), (json!("inbound"), json!("always"), json!("always")));
        let mut operator = tenants.socket(&tenants.a_operator, "mai").await;
        for (method, params) in [("tts.enable", json!({})), ("tts.disable", json!({})), ("tts.setProvider", json!({"provider": "minimax"}))] {
            assert_eq!(refused(&mut operator, method, params).await, "UNAUTHORIZED", "{method}");
        }
        let mut viewer = tenants.socket(&tenants.a_viewer, "mai").await;
        assert_eq!(refused(&mut viewer, "tts.convert", json!({"text": "hi"})).await, "UNAUTHORIZED");
    }

    async fn whoever_speaks_must_be_there(edition) {
        let server = with_minimax(edition).await.start().await;
        let mut socket = server.owner_socket().await;
        assert_eq!(socket.call("tts.setProvider", &json!({"provider": "minimax"})).await.unwrap(), json!({"provider": "minimax"}));
        for (params, code) in [
            (json!({"provider": "openai"}), "FAILED_PRECONDITION"),
            (json!({"provider": "edge"}), "FAILED_PRECONDITION"),
            (json!({"provider": "nobody"}), "INVALID_REQUEST"),
            (json!({"provider": 7}), "INVALID_REQUEST"),
            (json!({}), "INVALID_REQUEST"),
        ] {
            assert_eq!(refused(&mut socket, "tts.setProvider", params.clone()).await, code, "{params}");
        }
        assert_eq!(socket.call("tts.status", &json!({})).await.unwrap()["provider"], "minimax");
        let silent = Setup::new(edition).await.config(json!({"tts": {"edge": {"enabled": false}}})).start().await;
        let mut socket = silent.owner_socket().await;
        assert_eq!(refused(&mut socket, "tts.enable", json!({})).await, "FAILED_PRECONDITION");
        assert_eq!(refused(&mut socket, "tts.convert", json!({"text": "hi"})).await, "NOT_FOUND");
        assert_eq!(socket.call("tts.providers", &json!({})).await.unwrap()["active"], "");
    }

    async fn a_text_is_spoken_into_a_file_of_whoever_asks(edition) {
        let tenants = Tenants::start_with(with_minimax(edition).await).await;
        let server = &tenants.server;
        let mut socket = tenants.socket(&tenants.a_operator, "mai").await;
        server.llm.next(spoken());
        let converted = socket.call("tts.convert", &json!({"text": "  Xin chào  "})).await.unwrap();
        let path = file_of(&converted);
        assert_eq!(fs::read(&path).unwrap(), MP3);
        assert_eq!(server.anonymous().get(converted["audioPath"].as_str().unwrap()).await.body, MP3);
        let directory = server.dir().canonicalize().unwrap().join("workspace/tenants/a/_direct/mai/tts");
        assert!(path.parent() == Some(&directory) && path.extension().unwrap() == "mp3", "{path:?}");
        let expected = json!({"audioPath": converted["audioPath"], "provider": "minimax", "outputFormat": "mp3", "mimeType": "audio/mpeg", "voiceCompatible": false});
        assert_eq!(converted, expected);
        let request = server.llm.requests().pop().unwrap();
        assert_eq!(request.header("authorization").unwrap(), format!("Bearer {KEY}"));
        assert!(request.path.ends_with("/t2a_v2?GroupId=group-7"), "{}", request.path);
        assert_eq!((&request.body["text"], &request.body["voice_setting"]["voice_id"]), (&json!("Xin chào"), &json!("Wise_Woman")));

        for (params, format) in [(json!({"text": "hi", "channel": "telegram"}), "opus"), (json!({"text": "hi", "format": "opus", "voice": "v", "model": "m"}), "opus"), (json!({"text": "hi", "channel": "telegram", "format": "mp3"}), "mp3")] {
            server.llm.next(spoken());
            let converted = socket.call("tts.convert", &params).await.unwrap();
            assert_eq!((&converted["outputFormat"], &converted["voiceCompatible"]), (&json!(format), &json!(format == "opus")), "{params}");
            assert_eq!(file_of(&converted).to_str().unwrap().ends_with(".ogg"), format == "opus");
        }
        let named = server.llm.requests().into_iter().find(|request| request.body["voice_setting"]["voice_id"] == "v").unwrap();
        assert_eq!(named.body["model"], "m");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 4);
    }

    async fn what_makes_no_sense_is_not_spoken(edition) {
        let setup = with_minimax(edition).await.config(json!({"tts": {"max_length": 10}}));
        let server = setup.start().await;
        let mut socket = server.owner_socket().await;
        for (params, code) in [
            (json!({}), "INVALID_REQUEST"),
            (json!({"text": " \n "}), "INVALID_REQUEST"),
            (json!({"text": "ä".repeat(11)}), "INVALID_REQUEST"),
            (json!({"text": 5}), "INVALID_REQUEST"),
            (json!({"text": "hi", "provider": "nobody"}), "INVALID_REQUEST"),
            (json!({"text": "hi", "format": "wav"}), "INVALID_REQUEST"),
            (json!({"text": "hi", "voice": "v".repeat(201)}), "INVALID_REQUEST"),
            (json!({"text": "hi", "provider": "openai"}), "NOT_FOUND"),
        ] {
            assert_eq!(refused(&mut socket, "tts.convert", params.clone()).await, code, "{params}");
        }
        assert_eq!(asked(&server), 0);
        server.llm.next(spoken());
        socket.call("tts.convert", &json!({"text": "ä".repeat(10)})).await.unwrap();
    }

    async fn if_one_cannot_speak_the_next_does_and_nobody_hears_why(edition) {
        let setup = with_minimax(edition).await;
        let base = setup.llm.base();
        let server = setup.config(json!({"tts": {"openai": {"api_base": base}, "timeout_ms": 20_000}})).env("GOCLAW_TTS_OPENAI_API_KEY", KEY).start().await;
        let mut socket = server.owner_socket().await;
        server.llm.next(Answer::error(500, "inner secrets")).next(spoken());
        assert_eq!(socket.call("tts.convert", &json!({"text": "hi", "voice": "alloy"})).await.unwrap()["provider"], "minimax");
        let requests = server.llm.requests();
        assert_eq!((&requests[0].body["voice"], &requests[1].body["voice_setting"]["voice_id"]), (&json!("alloy"), &json!("Wise_Woman")), "a voice is its service's own");

        server.llm.next(Answer::error(500, "inner secrets")).next(Answer::raw(r#"{"base_resp":{"status_code":1004,"status_msg":"inner secrets"}}"#));
        let failed = socket.call("tts.convert", &json!({"text": "hi"})).await.unwrap_err();
        assert_eq!((failed.code.as_str(), failed.message.as_str()), ("UNAVAILABLE", "all tts providers failed"));
        server.llm.next(Answer::error(401, "inner secrets"));
        let failed = socket.call("tts.convert", &json!({"text": "hi", "provider": "openai"})).await.unwrap_err();
        assert!(failed.code == "UNAVAILABLE" && !failed.message.contains("secrets"), "{failed:?}");
        assert_eq!(asked(&server), 2, "only the one that was asked for is tried");
        assert!(!server.log().contains(KEY));
    }

    async fn the_configuration_is_followed_at_once(edition) {
        let server = Server::start(edition).await;
        let mut socket = server.owner_socket().await;
        let configured = async |socket: &mut WsClient| {
            let providers = socket.call("tts.providers", &json!({})).await.unwrap()["providers"].take();
            let ids = providers.as_array().unwrap().iter().filter(|provider| provider["configured"] == true);
            ids.map(|provider| provider["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(configured(&mut socket).await, ["edge"]);
        let patch = |tts: Value| json!({"raw": json!({"tts": tts}).to_string()});
        let changed = socket.call("config.patch", &patch(json!({"minimax": {"api_key": KEY, "api_base": server.llm.base()}, "provider": "minimax"}))).await.unwrap();
        assert!(!changed.to_string().contains(KEY));
        assert_eq!(configured(&mut socket).await, ["edge", "minimax"]);
        server.llm.next(spoken());
        assert_eq!(socket.call("tts.convert", &json!({"text": "hi"})).await.unwrap()["provider"], "minimax");
        assert_eq!(server.llm.requests().pop().unwrap().header("authorization").unwrap(), format!("Bearer {KEY}"));
        socket.call("config.patch", &patch(json!({"minimax": {"api_key": null}, "edge": {"enabled": false}}))).await.unwrap();
        assert_eq!(configured(&mut socket).await, Vec::<String>::new());
        for tts in [json!({"openai": {"api_base": "nowhere"}}), json!({"edge": {"rate": "fast"}}), json!({"auto": "often"}), json!({"max_length": -1})] {
            assert_eq!(refused(&mut socket, "config.patch", patch(tts)).await, "INVALID_REQUEST");
        }
    }

    async fn edges_voices_speak_through_their_program(edition) {
        let setup = Setup::new(edition).await;
        let programs = setup.dir().join("programs");
        fs::create_dir(&programs).unwrap();
        let script = r#"
env > "$(dirname "$0")/environment"
while [ $# -gt 0 ]; do case "$1" in --file) text=$2; shift 2;; --write-media) media=$2; shift 2;; *) shift;; esac; done
cat "$text" > "$media""#;
        install(&programs.join("edge-tts"), script);
        let server = setup.env("PATH", &format!("{}:/usr/bin:/bin", programs.display())).start().await;
        let mut socket = server.owner_socket().await;
        let converted = socket.call("tts.convert", &json!({"text": "--help", "channel": "telegram"})).await.unwrap();
        assert_eq!((&converted["provider"], &converted["outputFormat"]), (&json!("edge"), &json!("mp3")));
        assert_eq!(fs::read_to_string(file_of(&converted)).unwrap(), "--help");
        let environment = fs::read_to_string(programs.join("environment")).unwrap();
        assert!(environment.contains("PATH=") && !environment.contains("GOCLAW_"), "{environment}");
    }

    async fn an_agent_speaks(edition) {
        let setup = with_minimax(edition).await;
        let server = setup.start().await;
        create_agent(&server.owner(), "fox").await;
        server.llm.next(Answer::tool("tts", &json!({"text": "Xin chào"}))).next(spoken()).next(Answer::text("Listen."));
        let (mut socket, session) = (server.owner_socket().await, fox_session("1"));
        let answer = socket.call("chat.send", &message(&session, "say hello")).await.unwrap();
        let media = &answer["media"][0];
        let path = path_of(&media["path"]);
        assert_eq!((&media["content_type"], &media["size"]), (&json!("audio/mpeg"), &json!(MP3.len())));
        assert_eq!(fs::read(&path).unwrap(), MP3);
        assert_eq!(server.llm.questions().pop().unwrap().messages().last().unwrap()["content"], format!("MEDIA:{}", path.display()));

        // On Telegram it is a voice message.
        server.llm.next(spoken());
        let call = |args: Value| json!({"tool": "tts", "args": args, "agentId": "fox", "channel": "telegram"});
        let spoken = server.owner().post("/v1/tools/invoke", &call(json!({"text": "hi", "provider": "minimax"}))).await.expect(200);
        let output = spoken["result"]["output"].as_str().unwrap();
        assert!(output.starts_with("[[audio_as_voice]]\nMEDIA:/") && output.ends_with(".ogg"), "{output}");
        for (args, why) in [
            (json!({"text": " "}), "text is required"),
            (json!({"text": "x".repeat(1_501)}), "must not be longer than 1500 characters"),
            (json!({"text": "hi", "provider": "nobody"}), "tts provider not found: nobody"),
            (json!({"text": "hi", "provider": "openai"}), "tts provider not found: openai"),
            (json!({"text": ["hi"]}), "text must be a string"),
        ] {
            let refused = server.owner().post("/v1/tools/invoke", &call(args)).await.expect(400);
            assert!(refused["error"]["message"].as_str().unwrap().contains(why), "{refused}");
        }
        server.llm.next(Answer::error(401, "no credit"));
        let failed = server.owner().post("/v1/tools/invoke", &call(json!({"text": "hi"}))).await.expect(400);
        let why = failed["error"]["message"].as_str().unwrap();
        assert!(why.starts_with("all tts providers failed: minimax: HTTP 401") && !why.contains(KEY), "{why}");
    }

    async fn asking_too_often_is_refused(edition) {
        let server = with_minimax(edition).await.config(json!({"gateway": {"rate_limit_rpm": 1}})).start().await;
        let mut socket = server.owner_socket().await;
        server.llm.always(spoken());
        let mut codes = Vec::new();
        for _ in 0..6 {
            codes.push(socket.call("tts.convert", &json!({"text": "hi"})).await.err().map(|error| error.code));
        }
        assert_eq!(codes[0], None);
        assert_eq!(codes[5].as_deref(), Some("RESOURCE_EXHAUSTED"), "{codes:?}");
    }

    async fn a_tenant_does_not_hear_another(edition) {
        let tenants = Tenants::start_with(with_minimax(edition).await).await;
        for key in [&tenants.a_admin, &tenants.b_admin] {
            create_agent(&tenants.client(key, "mai"), "fox").await;
        }
        let (mut a, mut b) = (tenants.socket(&tenants.a_operator, "mai").await, tenants.socket(&tenants.b_admin, "mai").await);
        let mut paths = Vec::new();
        for socket in [&mut a, &mut b] {
            tenants.server.llm.next(spoken());
            let converted = socket.call("tts.convert", &json!({"text": "hi"})).await.unwrap();
            paths.push(file_of(&converted).to_str().unwrap().to_owned());
        }
        assert!(paths[0].contains("/tenants/a/") && paths[1].contains("/tenants/b/"), "{paths:?}");
        let read = json!({"tool": "read_file", "args": {"path": paths[0]}, "agentId": "fox"});
        tenants.client(&tenants.b_admin, "mai").post("/v1/tools/invoke", &read).await.expect(400);
    }
}
