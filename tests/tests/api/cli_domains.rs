//! The commands about what agents do by themselves, made, said and took.

use crate::{
    common::{ask, with_fox},
    shell::{Machine, Shell},
};
use goclaw_tests::{Edition, Server, Setup, server::free_port};
use serde_json::{Value, json};
use std::fs;

#[tokio::test]
async fn completions_name_every_command_in_every_shell() {
    let machine = Machine::new(Edition::Lite).await;
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = machine.run(&format!("completions {shell}")).await.expect(0).out;
        for command in ["serve", "agent", "heartbeat", "files", "traces", "usage", "tts", "auth", "backup", "completions"] {
            assert!(script.contains(command), "{shell} does not know {command}");
        }
    }
    machine.run("completions tcsh").await.expect(2);
}

on_both_editions! {
    async fn an_agents_heartbeat_is_shown_and_switched(edition) {
        let server = with_fox(edition).await;
        let shell = Shell::beside(&server);
        assert_eq!(shell.run("heartbeat show fox").await.expect(0).out, "fox: no heartbeat\n");
        assert_eq!(shell.run("heartbeat show fox --json").await.expect(0).json(), Value::Null);
        let mut socket = server.owner_socket().await;
        socket.call("heartbeat.set", &json!({"agentId": "fox", "intervalSec": 3600, "enabled": false})).await.unwrap();
        shell.run("heartbeat on fox").await.expect(0);
        let shown = shell.run("heartbeat show fox --json").await.expect(0).json();
        assert_eq!((&shown["enabled"], &shown["intervalSec"]), (&json!(true), &json!(3600)));
        assert!(shell.run("heartbeat show fox").await.expect(0).out.starts_with("fox: on, next at 20"));
        assert_eq!(shell.run("heartbeat off fox --json").await.expect(0).json()["enabled"], false);
        assert_eq!(shell.run("heartbeat show fox").await.expect(0).out, "fox: off; 0 runs, the last one: none\n");
        assert_eq!(shell.run("heartbeat log fox --json").await.expect(0).json(), json!([]));
        assert_eq!(shell.run("heartbeat log fox").await.expect(0).out, "It has not run yet.\n");
        shell.run("heartbeat show nobody").await.expect(4).says(&["nobody"]);
        shell.run("heartbeat log fox --limit 0").await.expect(2);
    }

    async fn what_runs_did_and_took_is_shown(edition) {
        let server = with_fox(edition).await;
        let shell = Shell::beside(&server);
        assert_eq!(shell.run("traces list").await.expect(0).out, "There are no traces.\n");
        ask(&server.owner(), "fox", "hello").await;
        let listed = goclaw_tests::eventually("a trace", async || {
            let listed = shell.run("traces list --json --status completed").await.expect(0).json();
            (listed.as_array().unwrap().len() == 1).then_some(listed)
        })
        .await;
        let id = listed[0]["id"].as_str().unwrap();
        assert!(shell.run("traces list").await.expect(0).out.contains(id));
        let shown = shell.run(&format!("traces show {id} --json")).await.expect(0).json();
        assert_eq!(shown["trace"]["id"], id);
        // Steps are written a moment later than the trace.
        goclaw_tests::eventually("its steps", async || shell.run(&format!("traces show {id}")).await.expect(0).out.contains("llm_call")).await;
        shell.run("traces show 0192f0c1-2345-7000-8000-000000000000").await.expect(4);

        let written = shell.run(&format!("traces export {id} -o trace.json.gz --json")).await.expect(0).json();
        let file = fs::read(shell.dir.join("trace.json.gz")).unwrap();
        assert_eq!((written["bytes"].as_u64().unwrap(), &file[..2]), (file.len() as u64, &[0x1f, 0x8b][..]));
        shell.run(&format!("traces export {id} -o trace.json.gz")).await.expect(4).says(&["is there already"]);
        assert_eq!(fs::read(shell.dir.join("trace.json.gz")).unwrap(), file);

        let sums = shell.run("usage --period 7d --json").await.expect(0).json();
        assert_eq!(sums["current"]["requests"], 1, "{sums}");
        assert!(shell.run("usage").await.expect(0).out.contains("input tokens"));
        shell.run("usage --period ever").await.expect(2);
    }

    async fn an_agent_travels_as_an_archive(edition) {
        let server = with_fox(edition).await;
        let shell = Shell::beside(&server);
        let written = shell.run("agent export fox --json").await.expect(0).json();
        assert_eq!((&written["file"], written["bytes"].as_u64()), (&json!("fox.tar.gz"), Some(fs::metadata(shell.dir.join("fox.tar.gz")).unwrap().len())));
        let made = shell.run("agent import fox.tar.gz --name vixen --json").await.expect(0).json();
        assert_eq!(made["agent_key"], "vixen");
        server.owner().get("/v1/agents/vixen").await.expect(200);
        assert_eq!(shell.run("agent import fox.tar.gz --into vixen").await.expect(0).out, "imported vixen\n");
        shell.run("agent export nobody -o nobody.tar.gz").await.expect(4);
        assert!(!shell.dir.join("nobody.tar.gz").exists());
        fs::write(shell.dir.join("bad.tar.gz"), "no archive").unwrap();
        shell.run("agent import bad.tar.gz").await.expect(4).says(&["refused"]);
        shell.run("agent import missing.tar.gz").await.expect(1).says(&["missing.tar.gz"]);
        shell.run("agent import fox.tar.gz --into vixen --name x").await.expect(2);
    }

    async fn files_are_fetched_and_linked(edition) {
        let server = with_fox(edition).await;
        let shell = Shell::beside(&server);
        let file = server.dir().join("workspace/fox/a report.txt");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "all is well").unwrap();
        let path = file.to_string_lossy().into_owned();
        let mut command = shell.command("files get -o report.txt");
        assert!(command.arg(&path).status().await.unwrap().success());
        assert_eq!(fs::read_to_string(shell.dir.join("report.txt")).unwrap(), "all is well");
        let mut command = shell.command("files sign");
        let output = command.arg(&path).output().await.unwrap();
        let url = String::from_utf8(output.stdout).unwrap();
        let place = url.trim().strip_prefix(&format!("http://127.0.0.1:{}", server.port())).unwrap();
        assert_eq!(server.anonymous().get(place).await.text(), "all is well");
        shell.run("files get /etc/passwd -o passwd").await.expect(4);
        assert!(!shell.dir.join("passwd").exists());
    }

    async fn who_speaks_is_shown(edition) {
        let server = Server::start(edition).await;
        let shell = Shell::beside(&server);
        assert!(shell.run("tts status --json").await.expect(0).json().is_object());
        assert!(shell.run("tts providers --json").await.expect(0).json().is_object());
        shell.run("tts status").await.expect(0);
        shell.run("tts say hello --provider nobody").await.expect(4);
    }

    async fn an_account_is_signed_in_to_with_a_browser(edition) {
        let server = Setup::new(edition).await.env("GOCLAW_OAUTH_CALLBACK_PORT", &free_port().to_string()).start().await;
        let shell = Shell::beside(&server);
        let begun = shell.run("auth login --json").await.expect(0).json();
        let url = begun["auth_url"].as_str().unwrap();
        assert_eq!(shell.run("auth login openai").await.expect(0).out.trim(), url, "the same user goes on where they began");
        shell.run("auth login --callback http://localhost:1455/auth/callback?code=x&state=wrong").await.expect(4);
    }
}
