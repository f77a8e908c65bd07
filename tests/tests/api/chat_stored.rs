//! The model is asked while a new conversation is on its way into the store, and its answer waits until that is there.

use crate::{
    behind::Database,
    common::{question, streamed, with_fox},
};
use futures_util::FutureExt;
use goclaw_tests::{Answer, eventually, sse::joined_text};
use serde_json::json;

on_both_editions! {
    async fn nothing_of_an_answer_is_passed_on_before_its_question_is_stored(edition) {
        let server = with_fox(edition).await;
        // The first time makes the user's files.
        server.owner().post("/v1/chat/completions", &question("fox", "hi")).await.expect(200);
        let database = Database::of(&server, edition).await;
        database.run("begin immediate", "begin; lock table session_messages in exclusive mode").await;
        server.llm.next(Answer::text("one two").chunks(2));
        let mut stream = server.owner().stream("/v1/chat/completions", &streamed("fox", "Keep this.")).await;
        assert!(stream.next().await.unwrap().contains("assistant"));
        eventually("the question", async || server.llm.questions().iter().any(|asked| asked.last_user_text() == "Keep this.")).await;
        assert!(stream.next_text().now_or_never().is_none(), "a piece was passed on although the question could still be lost");
        database.run("rollback", "rollback").await;
        assert_eq!(joined_text(&stream.rest().await), "one two");
        database.close().await;
    }

    async fn what_cannot_be_stored_is_not_answered(edition) {
        let server = with_fox(edition).await;
        let database = Database::of(&server, edition).await;
        database.run(
            "create trigger no before insert on session_messages when new.message like '%Refuse me.%' begin select raise(abort, 'no'); end",
            "alter table session_messages add constraint no check (message::text not like '%Refuse me.%') not valid",
        ).await;
        let refused = server.owner().post("/v1/chat/completions", &question("fox", "Refuse me.")).await;
        assert_eq!(refused.status, 500, "{refused:?}");
        assert!(!String::from_utf8_lossy(&refused.body).contains("Refuse"), "internals are not told");
        server.owner().post("/v1/chat/completions", &question("fox", "Answer me.")).await.expect(200);
        let sessions = server.owner_socket().await.call("sessions.list", &json!({})).await.unwrap();
        assert_eq!(sessions["sessions"].as_array().map(Vec::len), Some(1), "{sessions}");
        database.close().await;
    }
}
