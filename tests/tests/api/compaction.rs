//! Long conversations: their older part gives way to a summary, and nothing is lost on the way.

use crate::common::{create_agent_with, fox_session, history, lines, message};
use goclaw_tests::{
    Answer, Edition, Server, WsClient, eventually,
    fake_llm::{Gate, SUMMARY},
};
use serde_json::{Value, json};

/// A gateway whose agent `fox` has a context of 1,000 tokens.
async fn with_small_fox(edition: Edition) -> (Server, WsClient) {
    let server = Server::start(edition).await;
    create_agent_with(&server.owner(), "fox", json!({"context_window": 1000})).await;
    server.llm.always(Answer::text("Fine."));
    let socket = server.owner_socket().await;
    (server, socket)
}

/// A message of about this many tokens.
fn long(name: &str, tokens: usize) -> String {
    format!("{name} {}", "fox ".repeat(tokens))
}

async fn say(socket: &mut WsClient, text: &str) {
    socket.call("chat.send", &message(&fox_session("1"), text)).await.unwrap();
}

/// Four questions, of which the last answer fills the context.
async fn fill(server: &Server, socket: &mut WsClient) {
    for n in 1..=3 {
        say(socket, &long(&format!("first{n}"), 220)).await;
    }
    server.llm.next(Answer::text(long("long", 220)));
    say(socket, "last").await;
}

async fn session(socket: &mut WsClient) -> Value {
    socket.call("sessions.list", &json!({})).await.unwrap()["sessions"][0].take()
}

async fn summary(socket: &mut WsClient) -> String {
    let preview = socket.call("sessions.preview", &json!({"key": fox_session("1")})).await.unwrap();
    preview["summary"].as_str().unwrap().to_owned()
}

async fn compacted(socket: &mut WsClient, times: i64) {
    eventually("the conversation is summed up", async || session(socket).await["compactionCount"] == times).await;
}

on_both_editions! {
    async fn a_full_conversation_is_summed_up_after_the_run(edition) {
        let (server, mut socket) = with_small_fox(edition).await;
        for n in 1..=3 {
            say(&mut socket, &long(&format!("first{n}"), 200)).await;
        }
        assert!(server.llm.summaries_asked_for().is_empty(), "six hundred tokens are not too many");
        say(&mut socket, &long("last", 300)).await;
        compacted(&mut socket, 1).await;
        let left = history(&mut socket, &fox_session("1")).await;
        assert_eq!(left.len(), 4);
        assert!(lines(&left)[0].starts_with("user: first3") && lines(&left)[2].starts_with("user: last"));
        assert_eq!((summary(&mut socket).await.as_str(), &session(&mut socket).await["messageCount"]), (SUMMARY, &json!(4)));
        let asked = server.llm.summaries_asked_for().pop().unwrap();
        assert_eq!((&asked.body["max_tokens"], &asked.body["temperature"]), (&json!(1024), &json!(0.3)));
        let material = asked.last_user_text();
        assert!(material.contains("user: first1") && material.contains("user: first2") && !material.contains("last"), "{material}");

        say(&mut socket, "What did I say first?").await;
        let asked = server.llm.questions().pop().unwrap();
        assert!(asked.system().contains("Runtime: agent=fox"));
        let users = asked.texts_of("user");
        assert!(users[0].contains(SUMMARY) && users[1].starts_with("first3") && users.len() == 4, "{users:?}");
    }

    async fn the_next_summary_is_made_from_the_last(edition) {
        let (server, mut socket) = with_small_fox(edition).await;
        for n in 1..=4 {
            say(&mut socket, &long(&format!("first{n}"), 250)).await;
        }
        compacted(&mut socket, 1).await;
        say(&mut socket, &long("more", 350)).await;
        compacted(&mut socket, 2).await;
        let material = server.llm.summaries_asked_for().pop().unwrap().last_user_text();
        assert!(material.starts_with(&format!("<memory>\n{SUMMARY}\n</memory>")), "{material}");
    }

    async fn a_conversation_that_fills_up_in_the_middle_of_a_run_is_summed_up_for_the_model(edition) {
        let (server, mut socket) = with_small_fox(edition).await;
        for n in 1..=3 {
            say(&mut socket, &long(&format!("first{n}"), 200)).await;
        }
        let gate = Gate::closed();
        server.llm.next(Answer::text("Let me look.").and_tool("write_file", &json!({"path": "a.txt", "content": long("big", 250)})));
        server.llm.next(Answer::text("Done.").gated(&gate));
        let id = socket.send("chat.send", &message(&fox_session("1"), "last")).await;
        let activity = socket.event(|event| event["payload"]["payload"]["phase"] == "compacting").await;
        assert_eq!(activity["payload"]["payload"], json!({"phase": "compacting", "iteration": 2}));
        server.llm.wait_for_questions(5).await;
        assert_eq!(history(&mut socket, &fox_session("1")).await.len(), 9, "what is stored stays as it is");
        let asked = server.llm.questions().pop().unwrap();
        assert!(asked.system().contains("Runtime: agent=fox"), "the system prompt stays");
        let users = asked.texts_of("user");
        assert!(users[0].contains(SUMMARY) && !users.iter().any(|text| text.starts_with("first1")) && users.contains(&"last".to_owned()), "{users:?}");
        gate.open();
        assert_eq!(socket.answer(&id).await.unwrap()["content"], "Done.");
        // The conversation itself is summed up as well, after the run.
        compacted(&mut socket, 1).await;
        assert_eq!(history(&mut socket, &fox_session("1")).await.len(), 4);
    }

    async fn a_failed_summary_changes_nothing_and_the_next_run_tries_again(edition) {
        let (server, mut socket) = with_small_fox(edition).await;
        server.llm.summaries(Answer::error(400, "no"));
        for n in 1..=5 {
            say(&mut socket, &long(&format!("first{n}"), 200)).await;
        }
        eventually("a summary is asked for", async || !server.llm.summaries_asked_for().is_empty()).await;
        assert_eq!(history(&mut socket, &fox_session("1")).await.len(), 10);
        assert_eq!(summary(&mut socket).await, "");
        server.llm.summaries(Answer::text("At last."));
        // Which run is the first that finds the failed attempt ended is a matter of time.
        eventually("the conversation is summed up", async || {
            say(&mut socket, "and now?").await;
            summary(&mut socket).await == "At last."
        })
        .await;
        assert!(server.llm.summaries_asked_for().iter().any(|asked| asked.last_user_text().contains("user: first1")));
    }

    async fn what_is_said_meanwhile_stays(edition) {
        let (server, mut socket) = with_small_fox(edition).await;
        let gate = Gate::closed();
        server.llm.summaries(Answer::text("Gated.").gated(&gate));
        fill(&server, &mut socket).await;
        server.llm.wait_for_open_answers(1).await;
        let said = json!({"sessionKey": fox_session("1"), "message": "meanwhile"});
        socket.call("chat.inject", &said).await.unwrap();
        gate.open();
        compacted(&mut socket, 1).await;
        let left = lines(&history(&mut socket, &fox_session("1")).await);
        assert!(left.len() == 5 && left[4] == "assistant: meanwhile", "{left:?}");
    }

    async fn a_reset_meanwhile_wins(edition) {
        let (server, mut socket) = with_small_fox(edition).await;
        let gate = Gate::closed();
        server.llm.summaries(Answer::text("Gated.").gated(&gate));
        fill(&server, &mut socket).await;
        server.llm.wait_for_open_answers(1).await;
        socket.call("sessions.reset", &json!({"key": fox_session("1")})).await.unwrap();
        say(&mut socket, "new").await;
        gate.open();
        eventually("the attempt ends", async || {
            let traces = server.owner().get("/v1/traces").await.expect(200);
            traces["traces"].as_array().unwrap().iter().any(|trace| trace["name"] == "compact fox" && trace["status"] == "completed")
        })
        .await;
        assert_eq!(lines(&history(&mut socket, &fox_session("1")).await), ["user: new", "assistant: Fine."]);
        assert_eq!(summary(&mut socket).await, "");
    }

    async fn a_crash_in_the_middle_loses_nothing(edition) {
        let (mut server, mut socket) = with_small_fox(edition).await;
        server.llm.summaries(Answer::hang());
        fill(&server, &mut socket).await;
        eventually("a summary is asked for", async || !server.llm.summaries_asked_for().is_empty()).await;
        server.crash().await;
        server.restart().await;
        let mut socket = server.owner_socket().await;
        assert_eq!(history(&mut socket, &fox_session("1")).await.len(), 8);
        server.llm.summaries(Answer::text("After all."));
        say(&mut socket, &long("more", 220)).await;
        compacted(&mut socket, 1).await;
        assert_eq!(summary(&mut socket).await, "After all.");
    }

    async fn an_agent_decides_when_and_how_much_is_kept(edition) {
        let server = Server::start(edition).await;
        let own = json!({"context_window": 1000, "compaction_config": {"maxHistoryShare": 0.3, "keepLastMessages": 2}});
        create_agent_with(&server.owner(), "fox", own).await;
        let mut socket = server.owner_socket().await;
        for n in 1..=2 {
            say(&mut socket, &long(&format!("first{n}"), 200)).await;
        }
        compacted(&mut socket, 1).await;
        assert_eq!(history(&mut socket, &fox_session("1")).await.len(), 2);
    }
}
