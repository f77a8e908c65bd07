//! Changing the encryption key.

use crate::{
    common::{ask, create_agent_with},
    shell::{Machine, Shell, mode},
};
use goclaw_tests::{Edition, FakeLlm, Server, fake_llm::DEFAULT_TEXT, server::UPSTREAM_KEY};
use serde_json::json;
use std::fs;

const NEW_KEY: &str = "a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebfc0";
const SPARE_KEY: &str = "sk-spare-key-that-is-sealed";

/// A machine with a key file and a provider whose key is sealed with it.
async fn onboarded() -> (Machine, FakeLlm) {
    let machine = Machine::new(Edition::Lite).await;
    let llm = FakeLlm::start();
    let line = format!("onboard --provider openai_compat --api-key-stdin --api-base {} --model stub --yes", llm.base());
    machine.shell.run_with(&line, UPSTREAM_KEY).await.expect(0);
    llm.forget();
    (machine, llm)
}

/// Starts the gateway and has the model asked with the provider's key.
async fn assert_works(machine: &mut Machine, llm: &FakeLlm) {
    let gateway = machine.start().await;
    assert_eq!(machine.run("agent chat -m hello").await.expect(0).out, format!("{DEFAULT_TEXT}\n"));
    let question = llm.questions().pop().unwrap();
    assert_eq!(question.header("authorization"), Some(&*format!("Bearer {UPSTREAM_KEY}")));
    gateway.stop().await;
}

#[tokio::test]
async fn a_key_file_is_changed_and_the_old_key_opens_nothing() {
    let (mut machine, llm) = onboarded().await;
    let (file, previous) = (machine.file(".goclaw/data/encryption.key"), machine.file(".goclaw/data/encryption.key.previous"));
    let old = fs::read_to_string(&file).unwrap();

    let gateway = machine.start().await;
    machine.run("keys rotate --yes").await.expect(4).says(&["in use by process"]);
    gateway.stop().await;

    let planned = machine.run("keys rotate --dry-run --json").await.expect(0).json();
    let sealed = planned["sealed_with_old_key"].as_u64().unwrap();
    assert!(sealed >= 2, "the provider's key and the check: {planned}");
    machine.run("keys rotate").await.expect(4).says(&["--yes"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), old);

    let done = machine.run("keys rotate --yes --json").await.expect(0).hides(&[old.trim()]).json();
    assert_eq!((&done["secrets"], &done["resealed"]), (&json!(sealed), &json!(sealed)));
    let new = fs::read_to_string(&file).unwrap();
    assert_ne!(new, old);
    assert_eq!((mode(&file), previous.exists()), (0o600, false));
    assert_works(&mut machine, &llm).await;

    fs::write(&file, &old).unwrap();
    machine.run("").await.expect(1).says(&["encryption key is not the one"]).hides(&[old.trim(), "x1:"]);
    fs::write(&file, &new).unwrap();
    assert_works(&mut machine, &llm).await;
}

#[tokio::test]
async fn a_change_that_broke_off_before_the_new_key_was_there_begins_anew() {
    let (mut machine, llm) = onboarded().await;
    let (file, previous) = (machine.file(".goclaw/data/encryption.key"), machine.file(".goclaw/data/encryption.key.previous"));
    let old = fs::read_to_string(&file).unwrap();
    fs::copy(&file, &previous).unwrap();
    assert_works(&mut machine, &llm).await;
    machine.run("keys rotate --yes").await.expect(0);
    assert!(!previous.exists() && fs::read_to_string(&file).unwrap() != old);
    assert_works(&mut machine, &llm).await;
}

#[tokio::test]
async fn a_change_that_broke_off_before_secrets_were_sealed_anew_is_completed() {
    let (mut machine, llm) = onboarded().await;
    let (file, previous) = (machine.file(".goclaw/data/encryption.key"), machine.file(".goclaw/data/encryption.key.previous"));
    fs::copy(&file, &previous).unwrap();
    fs::write(&file, format!("{NEW_KEY}\n")).unwrap();
    assert_works(&mut machine, &llm).await;

    let done = machine.run("keys rotate --yes --json").await.expect(0).json();
    assert_eq!(done["resealed"], done["secrets"]);
    assert_eq!((fs::read_to_string(&file).unwrap().trim(), previous.exists()), (NEW_KEY, false));
    assert_works(&mut machine, &llm).await;
}

#[tokio::test]
async fn a_change_that_broke_off_before_the_old_key_was_removed_is_completed() {
    let (mut machine, llm) = onboarded().await;
    let (file, previous) = (machine.file(".goclaw/data/encryption.key"), machine.file(".goclaw/data/encryption.key.previous"));
    let old = fs::read_to_string(&file).unwrap();
    machine.run("keys rotate --yes").await.expect(0);
    fs::write(&previous, old).unwrap();
    assert_works(&mut machine, &llm).await;
    let done = machine.run("keys rotate --yes --json").await.expect(0).json();
    assert_eq!((&done["resealed"], previous.exists()), (&json!(0), false));
    assert_works(&mut machine, &llm).await;
}

#[tokio::test]
async fn a_secret_that_no_key_opens_stops_the_change_before_it_begins() {
    let (machine, _llm) = onboarded().await;
    let (file, previous) = (machine.file(".goclaw/data/encryption.key"), machine.file(".goclaw/data/encryption.key.previous"));
    fs::write(&file, format!("{NEW_KEY}\n")).unwrap();
    machine.run("keys rotate --yes").await.expect(1).says(&["opens with none of the keys", "nothing was changed"]).hides(&[NEW_KEY, "x1:"]);
    assert_eq!((fs::read_to_string(&file).unwrap().trim(), previous.exists()), (NEW_KEY, false));
}

/// Changes the key from the environment: to `new`, and then back. The gateway runs meanwhile if its edition allows it.
async fn rotate_by_environment(edition: Edition, first: Option<&str>, new: &str) {
    let mut server = Server::start(edition).await;
    if let Some(first) = first {
        // A database that was never sealed with another key.
        drop(server);
        server = goclaw_tests::Setup::new(edition).await.env("GOCLAW_ENCRYPTION_KEY", first).start().await;
    }
    let old = server.environment()["GOCLAW_ENCRYPTION_KEY"].clone();
    let owner = server.owner();
    let provider = json!({"name": "spare", "provider_type": "openai_compat", "api_base": server.llm.base(), "api_key": SPARE_KEY, "enabled": true});
    owner.post("/v1/providers", &provider).await.expect(201);
    create_agent_with(&owner, "fox", json!({"provider": "spare", "model": "stub"})).await;
    Shell::beside(&server).run("keys rotate --yes").await.expect(4);
    server.stop().await;
    Shell::beside(&server).run("keys rotate --yes").await.expect(4).says(&["GOCLAW_ENCRYPTION_KEY_PREVIOUS"]);

    server.set_env("GOCLAW_ENCRYPTION_KEY", new);
    server.set_env("GOCLAW_ENCRYPTION_KEY_PREVIOUS", &old);
    server.restart().await;
    assert_eq!(ask(&server.owner(), "fox", "hello").await, DEFAULT_TEXT);
    let shell = Shell::beside(&server);
    if edition == Edition::Lite {
        shell.run("keys rotate --yes").await.expect(4).says(&["in use by process"]);
        server.stop().await;
    }
    let planned = shell.run("keys rotate --dry-run --json").await.expect(0).json();
    assert!(planned["sealed_with_old_key"].as_u64().unwrap() >= 1, "{planned}");
    let done = shell.run("keys rotate --yes --json").await.expect(0).hides(&[new, &old, SPARE_KEY]).json();
    assert_eq!(done["resealed"], planned["sealed_with_old_key"]);
    assert_eq!(shell.run("keys rotate --yes --json").await.expect(0).json()["resealed"], 0, "again does no harm");
    if edition == Edition::Standard {
        assert_eq!(ask(&server.owner(), "fox", "hello").await, DEFAULT_TEXT);
        server.stop().await;
    }

    server.set_env("GOCLAW_ENCRYPTION_KEY_PREVIOUS", "");
    server.restart().await;
    server.llm.forget();
    assert_eq!(ask(&server.owner(), "fox", "hello").await, DEFAULT_TEXT);
    assert_eq!(server.llm.questions()[0].header("authorization"), Some(&*format!("Bearer {SPARE_KEY}")));
    server.stop().await;
    server.set_env("GOCLAW_ENCRYPTION_KEY", &old);
    let (status, log) = server.restart_and_fail().await;
    assert!(!status.success() && log.contains("encryption key is not the one"), "{log}");
}

on_both_editions! {
    async fn a_key_from_the_environment_is_changed(edition) {
        rotate_by_environment(edition, None, NEW_KEY).await;
    }

    async fn a_passphrase_is_changed_for_another(edition) {
        rotate_by_environment(edition, Some("correct horse battery staple"), "another horse, another battery").await;
    }
}
