//! How agents get to know new users, and which of their own files they may read and write.

use crate::{
    common::{ask, create_agent_with, fox_session, history, lines, message},
    upstream::walk,
};
use goclaw_tests::{Answer, Edition, Server, Setup, WsClient};
use serde_json::{Value, json};

async fn meeting_people(edition: Edition, fields: Value) -> Server {
    let server = Setup::new(edition).await.config(json!({"agents": {"defaults": {"onboarding": true}}})).start().await;
    create_agent_with(&server.owner(), "fox", fields).await;
    server
}

async fn say(socket: &mut WsClient, text: &str) -> Value {
    socket.call("chat.send", &message(&fox_session("1"), text)).await.unwrap()
}

/// What the model was told before it gave its last answer.
fn system(server: &Server) -> String {
    server.llm.questions().pop().unwrap().system()
}

fn write(name: &str, content: &str) -> Answer {
    Answer::tool("write_file", &json!({"path": name, "content": content}))
}

/// What tools answered before the model's last answer.
fn told(server: &Server) -> Vec<String> {
    server.llm.questions().pop().unwrap().texts_of("tool")
}

on_both_editions! {
    async fn an_open_agent_does_nothing_else_until_the_meeting_is_over(edition) {
        let server = meeting_people(edition, json!({})).await;
        let mut socket = server.owner_socket().await;
        server.llm.next(write("USER.md", "- **Name:** Ann\n")).next(write("BOOTSTRAP.md", "")).next(Answer::text("Pleased to meet you."));
        assert_eq!(say(&mut socket, "Hello, I am Ann.").await["content"], "Pleased to meet you.");
        let first = &server.llm.questions()[0];
        assert!(!first.tool_names().contains(&"read_file".to_owned()) && !first.tool_names().contains(&"exec".to_owned()));
        assert!(first.tool_names().contains(&"write_file".to_owned()));
        assert!(first.system().contains("<file name=\"BOOTSTRAP.md\">") && first.system().contains("# First meeting"));
        say(&mut socket, "And now?").await;
        let asked = server.llm.questions().pop().unwrap();
        assert!(asked.tool_names().contains(&"read_file".to_owned()));
        assert!(!asked.system().contains("BOOTSTRAP.md") && asked.system().contains("- **Name:** Ann"));
    }

    async fn a_predefined_agent_works_while_it_meets_a_user(edition) {
        let server = meeting_people(edition, json!({"agent_type": "predefined"})).await;
        let mut socket = server.owner_socket().await;
        say(&mut socket, "Hello.").await;
        let asked = server.llm.questions().pop().unwrap();
        assert!(asked.tool_names().contains(&"read_file".to_owned()));
        assert!(asked.system().contains("<file name=\"BOOTSTRAP.md\">") && asked.system().contains("You have not met this user before."));
    }

    async fn a_meeting_ends_with_the_third_turn_and_its_notes_are_not_in_the_history(edition) {
        let server = meeting_people(edition, json!({})).await;
        let mut socket = server.owner_socket().await;
        for (turn, reminded) in [("one", false), ("two", false), ("three", true)] {
            server.llm.next(Answer::text(format!("After {turn}.")));
            say(&mut socket, turn).await;
            let asked = server.llm.questions().pop().unwrap();
            assert!(asked.system().contains("# First meeting"), "{turn}");
            assert_eq!(asked.last_user_text().starts_with("[System] The first meeting"), reminded, "{turn}");
        }
        server.llm.next(Answer::text("After four."));
        say(&mut socket, "four").await;
        assert!(!system(&server).contains("BOOTSTRAP.md") && system(&server).contains("# Getting to know the user"));
        let said: Vec<_> = ["one", "two", "three", "four"].iter().flat_map(|turn| [format!("user: {turn}"), format!("assistant: After {turn}.")]).collect();
        assert_eq!(lines(&history(&mut socket, &fox_session("1")).await), said);
    }

    async fn only_conversations_that_go_on_are_meetings(edition) {
        let server = meeting_people(edition, json!({})).await;
        ask(&server.owner(), "fox", "hi").await;
        let asked = server.llm.questions().pop().unwrap();
        assert!(asked.tool_names().contains(&"read_file".to_owned()));
        assert!(!asked.system().contains("BOOTSTRAP.md"));
        say(&mut server.owner_socket().await, "hello").await;
        assert!(system(&server).contains("# First meeting"), "it is still to come");
    }

    async fn a_finished_meeting_does_not_come_back(edition) {
        let server = meeting_people(edition, json!({})).await;
        let mut socket = server.owner_socket().await;
        server.llm.next(write("BOOTSTRAP.md", " \n")).next(Answer::text("Done."));
        say(&mut socket, "hello").await;
        for session in ["2", "3"] {
            socket.call("chat.send", &message(&fox_session(session), "hello")).await.unwrap();
            assert!(!system(&server).contains("# First meeting"));
        }
    }

    async fn a_predefined_agent_writes_only_what_is_its_users(edition) {
        let server = meeting_people(edition, json!({"agent_type": "predefined"})).await;
        let mut socket = server.owner_socket().await;
        for (name, content, allowed) in [
            ("USER.md", "- **Name:** Ann", true), ("HEARTBEAT.md", "Look after the burrow.", true), ("BOOTSTRAP.md", "again", false), ("SOUL.md", "Be wild.", false),
            ("IDENTITY.md", "Name: Wolf", false), ("AGENTS.md", "Be lazy.", false), ("USER_PREDEFINED.md", "Obey Ann.", false), ("BOOTSTRAP.md", "", true),
        ] {
            server.llm.next(write(name, content)).next(Answer::text("Done."));
            say(&mut socket, "write").await;
            let told = told(&server).pop().unwrap();
            assert_eq!(told.starts_with("Wrote") || told.starts_with("The first meeting is over"), allowed, "{name}: {told}");
        }
        for (name, allowed) in [("USER.md", true), ("HEARTBEAT.md", true), ("SOUL.md", false), ("AGENTS.md", false), ("USER_PREDEFINED.md", false)] {
            server.llm.next(Answer::tool("read_file", &json!({"path": name}))).next(Answer::text("Done."));
            say(&mut socket, "read").await;
            let told = told(&server).pop().unwrap();
            assert_eq!(told.contains("part of your instructions"), !allowed, "{name}: {told}");
        }
        server.llm.next(Answer::text("Done."));
        say(&mut socket, "and?").await;
        assert!(system(&server).contains("- **Name:** Ann") && !system(&server).contains("Be wild.") && !system(&server).contains("Obey Ann."));
    }

    async fn users_share_a_directory_if_the_agent_says_so(edition) {
        let server = Server::start(edition).await;
        for (key, sharing) in [("alone", json!({})), ("together", json!({"shared_dm": true})), ("named", json!({"shared_users": ["ann"]}))] {
            create_agent_with(&server.owner(), key, json!({"is_default": true, "other_config": {"workspace_sharing": sharing}})).await;
            for user in ["ann", "ben"] {
                let file = format!("{key}-{user}.txt");
                server.llm.next(write(&file, "x")).next(Answer::text("Done."));
                ask(&server.gateway_user(user), key, "hi").await;
            }
        }
        let files = walk(&server.dir().join("workspace"));
        let shared = |file: &str| {
            let path = files.iter().find(|path| path.ends_with(file)).unwrap_or_else(|| panic!("{file} in {files:?}"));
            path.parent().unwrap().ends_with("http")
        };
        let seen = ["alone-ann.txt", "alone-ben.txt", "together-ann.txt", "together-ben.txt", "named-ann.txt", "named-ben.txt"].map(shared);
        assert_eq!(seen, [false, false, true, true, true, false]);
    }
}
