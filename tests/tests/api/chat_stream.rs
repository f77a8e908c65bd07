//! `POST /v1/chat/completions`, answered as a stream.

use crate::common::{streamed, with_fox};
use goclaw_tests::{Answer, fake_llm::Gate, sse::joined_text};
use serde_json::{Value, json};

on_both_editions! {
    async fn the_answer_comes_in_the_pieces_the_model_gives(edition) {
        let server = with_fox(edition).await;
        server.llm.next(Answer::text("one two three four").chunks(3));
        let mut stream = server.owner().stream("/v1/chat/completions", &streamed("fox", "hi")).await;
        assert_eq!((stream.status, stream.content_type.as_str()), (200, "text/event-stream"));
        let mut records = stream.rest().await;
        assert_eq!(records.pop().unwrap(), "[DONE]");
        let parsed: Vec<Value> = records.iter().map(|record| serde_json::from_str(record).unwrap()).collect();
        let (first, last) = (&parsed[0]["choices"][0], &parsed.last().unwrap()["choices"][0]);
        assert_eq!(first, &json!({"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": null}));
        assert_eq!(last, &json!({"index": 0, "delta": {"role": "", "content": ""}, "finish_reason": "stop"}));
        for record in &parsed {
            assert_eq!((&record["id"], &record["object"], &record["model"]), (&parsed[0]["id"], &json!("chat.completion.chunk"), &json!("goclaw:fox")));
            assert!(record["choices"][0]["delta"]["role"].is_string() && record["choices"][0]["delta"]["content"].is_string(), "{record}");
        }
        assert_eq!(joined_text(&records), "one two three four");
        assert_snapshot!("records", Value::Array(parsed));
    }

    async fn the_first_piece_arrives_before_the_last_is_made(edition) {
        let server = with_fox(edition).await;
        let gate = Gate::closed();
        server.llm.next(Answer::text("abcd").chunks(4).gated(&gate));
        let mut stream = server.owner().stream("/v1/chat/completions", &streamed("fox", "hi")).await;
        assert!(stream.next().await.unwrap().contains("assistant"), "the first record comes before the model says anything");
        for expected in ["a", "b", "c", "d"] {
            gate.pass(1);
            assert_eq!(stream.next_text().await, expected);
        }
        assert_eq!(stream.rest().await.last().unwrap(), "[DONE]");
    }

    async fn characters_are_not_cut(edition) {
        let server = with_fox(edition).await;
        let text = "Xin chào thế giới 🦀🦊 \"quoted\" \\ back\nnew line \u{2028} end".repeat(50);
        server.llm.next(Answer::text(&text).chunks(997));
        let records = server.owner().stream("/v1/chat/completions", &streamed("fox", "hi")).await.rest().await;
        assert_eq!(joined_text(&records), text.trim());
    }

    async fn a_client_that_goes_stops_the_run(edition) {
        let server = with_fox(edition).await;
        server.llm.next(Answer::text("one two").chunks(2).gated(&Gate::closed()));
        let mut stream = server.owner().stream("/v1/chat/completions", &streamed("fox", "hi")).await;
        stream.next().await.unwrap();
        server.llm.wait_for_open_answers(1).await;
        drop(stream);
        server.llm.wait_for_lost_clients(1).await;
        let records = server.owner().stream("/v1/chat/completions", &streamed("fox", "again")).await.rest().await;
        assert_eq!(joined_text(&records), goclaw_tests::fake_llm::DEFAULT_TEXT);
    }

    async fn a_failed_run_ends_its_stream_in_order(edition) {
        let server = with_fox(edition).await;
        server.llm.next(Answer::error(401, "the key sk-very-secret-0123456789abcdef is wrong"));
        let mut records = server.owner().stream("/v1/chat/completions", &streamed("fox", "hi")).await.rest().await;
        assert_eq!(records.pop().unwrap(), "[DONE]");
        let last: Value = serde_json::from_str(records.last().unwrap()).unwrap();
        assert_eq!(last["choices"][0]["finish_reason"], "stop");
        let text = joined_text(&records);
        assert!(text.starts_with("Error: "), "{text}");
        assert!(!text.contains("sk-very-secret"), "{text}");
    }

    async fn refusals_come_before_the_stream_begins(edition) {
        let server = with_fox(edition).await;
        for (body, status) in [(streamed("nobody", "hi"), 404), (json!({"stream": true, "messages": []}), 400)] {
            let reply = server.owner().post("/v1/chat/completions", &body).await;
            assert_eq!(reply.status, status);
            assert!(reply.header("content-type").starts_with("application/json"));
        }
    }

    async fn two_hundred_streams_at_once_all_end_well(edition) {
        let server = with_fox(edition).await;
        let gate = Gate::closed();
        server.llm.always(Answer::echo().chunks(8).gated(&gate));
        let owner = server.owner();
        let ask = async |n: usize| {
            let records = owner.stream("/v1/chat/completions", &streamed("fox", &format!("question {n}"))).await.rest().await;
            assert_eq!(records.last().map(String::as_str), Some("[DONE]"));
            assert_eq!(joined_text(&records), format!("echo: question {n}"));
        };
        let all = futures_util::future::join_all((0..200).map(ask));
        let opener = async {
            server.llm.wait_for_open_answers(200).await;
            gate.open();
        };
        tokio::join!(all, opener);
        let total = server.owner_socket().await.call("sessions.list", &json!({"limit": 1})).await.unwrap()["total"].clone();
        assert_eq!(total, 200);
    }
}
