use goclaw_ports::{
    AgentId,
    media::{MediaKind, MediaRef},
    sessions::{ChatMessage, Compaction, MessageRole, Session, SessionDelta, SessionFilter, StoredMessage, ToolCall},
};
use goclaw_tests::{
    TestDatabase,
    fixtures::{at, file, new_session, odd_json, said},
};
use std::collections::BTreeMap;
use uuid::Uuid;

const KEY: &str = "agent:fox:ws:1";

fn none() -> SessionDelta {
    SessionDelta::default()
}

fn titled(label: &str) -> SessionDelta {
    SessionDelta { label: Some(label.into()), ..none() }
}

fn all() -> SessionFilter {
    SessionFilter { limit: 100, ..SessionFilter::default() }
}

fn keys(sessions: Vec<Session>) -> Vec<String> {
    sessions.into_iter().map(|session| session.key).collect()
}

async fn texts(db: &TestDatabase, tenant: goclaw_ports::TenantId, key: &str) -> Vec<String> {
    db.stores.sessions.messages(tenant, key, None).await.unwrap().into_iter().map(|message| message.content).collect()
}

/// A message with every field that is stored.
fn full_message() -> ChatMessage {
    ChatMessage {
        thinking: "hm 🦀".into(),
        phase: "commentary".into(),
        media_refs: vec![MediaRef { id: "7".into(), mime_type: "image/png".into(), kind: MediaKind::Image, path: "/w/tệp 🦀.png".into() }],
        tool_calls: vec![
            ToolCall {
                id: "call_1".into(),
                name: "read_file".into(),
                arguments: odd_json(),
                metadata: BTreeMap::from([("signature".into(), "base64==".into())]),
                parse_error: String::new(),
            },
            ToolCall {
                id: "call_2".into(),
                name: "exec".into(),
                arguments: serde_json::Map::new(),
                metadata: BTreeMap::new(),
                parse_error: "not JSON: {".into(),
            },
        ],
        created_at: Some(at(3)),
        ..ChatMessage::new(MessageRole::Assistant, "Xin chào 🦀 \u{10FFFF}\r\n\t\u{1}\u{7f}\u{2028}'\"\\")
    }
}

on_both_databases! {
    async fn a_session_is_opened_empty(db) {
        let tenant = db.tenant("a").await;
        let fox = db.agent(tenant, "fox").await;
        let new = new_session(fox.id, KEY);
        let opened = db.stores.sessions.open(tenant, &new, at(1)).await.unwrap();
        let expected = Session {
            id: new.id,
            key: KEY.into(),
            agent_id: Some(fox.id),
            user_id: "user@example.com".into(),
            summary: String::new(),
            model: String::new(),
            provider: String::new(),
            channel: "ws".into(),
            label: String::new(),
            input_tokens: 0,
            output_tokens: 0,
            compaction_count: 0,
            metadata: BTreeMap::new(),
            message_count: 0,
            message_bytes: 0,
            created_at: at(1),
            updated_at: at(1),
        };
        assert_eq!(opened, expected);
        assert_eq!(db.stores.sessions.find(tenant, KEY).await.unwrap(), Some(expected));
        assert!(db.stores.sessions.messages(tenant, KEY, None).await.unwrap().is_empty());
    }

    async fn an_open_session_is_returned_as_it_is(db) {
        let tenant = db.tenant("a").await;
        let (fox, wolf) = (db.agent(tenant, "fox").await, db.agent(tenant, "wolf").await);
        db.session(tenant, fox.id, KEY).await;
        db.stores.sessions.append(tenant, KEY, &[said("hello")], &SessionDelta { input_tokens: 3, ..none() }, at(2)).await.unwrap();
        let before = db.stores.sessions.find(tenant, KEY).await.unwrap().unwrap();
        let again = goclaw_ports::sessions::NewSession { user_id: "other".into(), channel: "http".into(), ..new_session(wolf.id, KEY) };
        assert_eq!(db.stores.sessions.open(tenant, &again, at(9)).await.unwrap(), before);
        assert_eq!(db.stores.sessions.find(tenant, KEY).await.unwrap(), Some(before));
        assert_eq!(db.stores.sessions.count(tenant).await.unwrap(), 1);
    }

    async fn a_session_needs_an_agent_of_the_tenant(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        let of_a = db.agent(a, "fox").await;
        assert_fails!(db.stores.sessions.open(a, &new_session(AgentId(Uuid::now_v7()), KEY), at(1)).await, NotFound);
        assert_fails!(db.stores.sessions.open(b, &new_session(of_a.id, KEY), at(1)).await, NotFound);
        assert_eq!((db.stores.sessions.count(a).await.unwrap(), db.stores.sessions.count(b).await.unwrap()), (0, 0));
    }

    async fn opened_at_once_a_session_is_one(db) {
        let tenant = db.tenant("a").await;
        let fox = db.agent(tenant, "fox").await;
        let news: Vec<_> = (0..32).map(|_| new_session(fox.id, KEY)).collect();
        let opened: Vec<_> = futures_util::future::join_all(news.iter().map(|new| db.stores.sessions.open(tenant, new, at(1)))).await.into_iter().map(Result::unwrap).collect();
        assert!(opened.iter().all(|session| session.id == opened[0].id));
        assert_eq!(db.stores.sessions.count(tenant).await.unwrap(), 1);
    }

    async fn a_turn_opens_the_session_and_knows_what_was_said_before(db) {
        let tenant = db.tenant("a").await;
        let fox = db.agent(tenant, "fox").await;
        let new = new_session(fox.id, KEY);
        let sessions = &db.stores.sessions;
        let first = sessions.begin_turn(tenant, &new, &[said("one")], None, 10, at(1)).await.unwrap();
        assert_eq!((first.session.id, first.session.created_at, first.session.message_count, first.past.len()), (new.id, at(1), 1, 0));
        assert_eq!(sessions.find(tenant, KEY).await.unwrap(), Some(first.session.clone()));
        sessions.append(tenant, KEY, &[said("two"), said("three")], &SessionDelta { input_tokens: 3, ..titled("t") }, at(2)).await.unwrap();
        let again = sessions.begin_turn(tenant, &new_session(fox.id, KEY), &[said("four")], None, 2, at(3)).await.unwrap();
        let known: Vec<_> = again.past.iter().map(|message| message.content.as_str()).collect();
        assert_eq!((known, again.session.label.as_str(), again.session.message_count), (vec!["two", "three"], "t", 4));
        assert_eq!(sessions.find(tenant, KEY).await.unwrap(), Some(again.session.clone()));
        assert_eq!(again.session.message_bytes, first.session.message_bytes * 4 + 3);
        assert_eq!(texts(&db, tenant, KEY).await, ["one", "two", "three", "four"]);
        let silent = sessions.begin_turn(tenant, &new_session(fox.id, KEY), &[], None, 100, at(9)).await.unwrap();
        assert_eq!((silent.past.len(), silent.session), (4, again.session));
        let empty = sessions.begin_turn(tenant, &new_session(fox.id, "agent:fox:ws:2"), &[], None, 100, at(9)).await.unwrap();
        assert_eq!((empty.past.len(), sessions.find(tenant, "agent:fox:ws:2").await.unwrap()), (0, Some(empty.session)));
    }

    async fn a_turn_in_anothers_session_is_refused_and_leaves_nothing(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        let (of_a, of_b) = (db.agent(a, "fox").await, db.agent(b, "fox").await);
        let sessions = &db.stores.sessions;
        sessions.begin_turn(a, &new_session(of_a.id, KEY), &[said("mine")], None, 10, at(1)).await.unwrap();
        let before = sessions.find(a, KEY).await.unwrap();
        let other = goclaw_ports::sessions::NewSession { user_id: "other".into(), ..new_session(of_a.id, KEY) };
        for said in [&[said("theirs")][..], &[]] {
            assert_fails!(sessions.begin_turn(a, &other, said, None, 10, at(2)).await, Forbidden);
        }
        assert_fails!(sessions.begin_turn(b, &new_session(of_a.id, KEY), &[said("x")], None, 10, at(2)).await, NotFound);
        assert_eq!((sessions.count(b).await.unwrap(), sessions.find(a, KEY).await.unwrap()), (0, before));
        let own = sessions.begin_turn(b, &new_session(of_b.id, KEY), &[said("b")], None, 10, at(2)).await.unwrap();
        assert_eq!((own.past.len(), texts(&db, a, KEY).await, texts(&db, b, KEY).await), (0, vec!["mine".to_owned()], vec!["b".to_owned()]));
    }

    async fn turns_that_begin_at_once_share_one_session(db) {
        let tenant = db.tenant("a").await;
        let fox = db.agent(tenant, "fox").await;
        let news: Vec<_> = (0..32).map(|n| (new_session(fox.id, KEY), [said(n.to_string())])).collect();
        let begun = futures_util::future::join_all(news.iter().map(|(new, said)| db.stores.sessions.begin_turn(tenant, new, said, None, 100, at(1)))).await;
        let mut pasts: Vec<_> = begun.into_iter().map(|turn| turn.unwrap().past.len()).collect();
        pasts.sort_unstable();
        assert_eq!((pasts[0], db.stores.sessions.count(tenant).await.unwrap(), texts(&db, tenant, KEY).await.len()), (0, 1, 32));
    }

    async fn an_unknown_session_is_not_found(db) {
        let tenant = db.tenant("a").await;
        let fox = db.agent(tenant, "fox").await;
        db.session(tenant, fox.id, KEY).await;
        for key in ["agent:fox:ws:", "agent:fox:ws:11", "AGENT:FOX:WS:1", "agent:fox:ws:%", ""] {
            assert_eq!(db.stores.sessions.find(tenant, key).await.unwrap(), None, "{key:?}");
            assert!(db.stores.sessions.messages(tenant, key, None).await.unwrap().is_empty());
            assert_fails!(db.stores.sessions.append(tenant, key, &[said("x")], &none(), at(2)).await, NotFound);
            assert!(!db.stores.sessions.reset(tenant, key, at(2)).await.unwrap());
            assert!(!db.stores.sessions.delete(tenant, key).await.unwrap());
        }
        assert_eq!(keys(db.stores.sessions.list(tenant, &all()).await.unwrap().0), [KEY]);
    }

    async fn a_key_may_be_500_bytes_of_any_text(db) {
        let tenant = db.tenant("a").await;
        let fox = db.agent(tenant, "fox").await;
        let key = format!("agent:fox:ws:{}", "🦀".repeat(121));
        let key = format!("{key}{}", "x".repeat(500 - key.len()));
        db.session(tenant, fox.id, &key).await;
        assert_eq!(db.stores.sessions.find(tenant, &key).await.unwrap().unwrap().key, key);
    }

    async fn sessions_are_listed_last_updated_first_in_pages_with_the_number_of_all(db) {
        let tenant = db.tenant("a").await;
        let fox = db.agent(tenant, "fox").await;
        for n in 1..=5 {
            db.stores.sessions.open(tenant, &new_session(fox.id, &format!("agent:fox:ws:{n}")), at(n)).await.unwrap();
        }
        db.stores.sessions.append(tenant, "agent:fox:ws:2", &[said("x")], &none(), at(20)).await.unwrap();
        let order = ["2", "5", "4", "3", "1"].map(|n| format!("agent:fox:ws:{n}"));
        for (limit, offset) in [(100, 0), (2, 0), (2, 2), (2, 4), (2, 6)] {
            let (page, total) = db.stores.sessions.list(tenant, &SessionFilter { limit, offset, ..all() }).await.unwrap();
            let (from, to) = (usize::min(offset as usize, 5), usize::min((offset + limit) as usize, 5));
            assert_eq!((keys(page), total), (order[from..to].to_vec(), 5), "limit {limit}, offset {offset}");
        }
    }

    async fn pages_far_down_a_long_list_follow_one_another_as_well(db) {
        let (tenant, other) = (db.tenant("a").await, db.tenant("b").await);
        let (fox, foreign) = (db.agent(tenant, "fox").await, db.agent(other, "fox").await);
        db.session(other, foreign.id, KEY).await;
        let last = 2_100;
        let news: Vec<_> = (1..=last).map(|n| (new_session(fox.id, &format!("agent:fox:ws:{n}")), at(n))).collect();
        for some in news.chunks(50) {
            let opened = futures_util::future::join_all(some.iter().map(|(new, now)| db.stores.sessions.open(tenant, new, *now))).await;
            assert!(opened.iter().all(Result::is_ok));
        }
        for (limit, offset) in [(3, 998), (3, 1_000), (3, 1_049), (3, 1_051), (5, 2_094), (5, 2_095), (5, 2_098), (5, 2_100), (5, i64::MAX), (i64::MAX, 2_098), (0, 1_500)] {
            let (page, total) = db.stores.sessions.list(tenant, &SessionFilter { limit, offset, ..all() }).await.unwrap();
            let expected: Vec<_> = (1..=last).rev().skip(offset.try_into().unwrap()).take(limit.try_into().unwrap()).map(|n| format!("agent:fox:ws:{n}")).collect();
            assert_eq!((keys(page), total), (expected, last), "limit {limit}, offset {offset}");
        }
        let filter = SessionFilter { limit: 2, offset: 1_050, agent_key: Some("fox".into()), channel: Some("ws".into()), ..all() };
        let (page, total) = db.stores.sessions.list(tenant, &filter).await.unwrap();
        assert_eq!((keys(page), total), (vec!["agent:fox:ws:1050".to_owned(), "agent:fox:ws:1049".to_owned()], last));
    }

    async fn a_list_is_filtered_by_agent_channel_and_user(db) {
        let tenant = db.tenant("a").await;
        let fox = db.agent(tenant, "fox").await;
        for (n, (key, user)) in [
            ("agent:fox:ws:direct:1", "mai"),
            ("agent:fox:telegram:ws:2", "mai"),
            ("agent:fox2:ws:direct:3", "lan"),
            ("agent:f_x:w%:direct:4", "mai"),
            ("team:fox:ws:5", "mai"),
        ]
        .into_iter()
        .enumerate()
        {
            let new = goclaw_ports::sessions::NewSession { user_id: user.into(), ..new_session(fox.id, key) };
            db.stores.sessions.open(tenant, &new, at(10 - n as i64)).await.unwrap();
        }
        let some = |text: &str| Some(text.to_owned());
        for (filter, expected) in [
            (SessionFilter { agent_key: some("fox"), ..all() }, vec!["agent:fox:ws:direct:1", "agent:fox:telegram:ws:2"]),
            (SessionFilter { agent_key: some("f_x"), ..all() }, vec!["agent:f_x:w%:direct:4"]),
            (SessionFilter { agent_key: some("%"), ..all() }, vec![]),
            (SessionFilter { agent_key: some("FOX"), ..all() }, vec![]),
            (SessionFilter { channel: some("ws"), ..all() }, vec!["agent:fox:ws:direct:1", "agent:fox2:ws:direct:3"]),
            (SessionFilter { channel: some("w%"), ..all() }, vec!["agent:f_x:w%:direct:4"]),
            (SessionFilter { channel: some("w_"), ..all() }, vec![]),
            (SessionFilter { user_id: some("lan"), ..all() }, vec!["agent:fox2:ws:direct:3"]),
            (SessionFilter { user_id: some("mai"), agent_key: some("fox"), channel: some("telegram"), ..all() }, vec!["agent:fox:telegram:ws:2"]),
            (SessionFilter { user_id: some("lan"), agent_key: some("fox"), ..all() }, vec![]),
        ] {
            let (page, total) = db.stores.sessions.list(tenant, &filter).await.unwrap();
            assert_eq!(total, expected.len() as i64, "{filter:?}");
            assert_eq!(keys(page), expected, "{filter:?}");
        }
    }

    async fn a_list_is_filtered_by_title_and_by_last_change(db) {
        let tenant = db.tenant("a").await;
        let fox = db.agent(tenant, "fox").await;
        for n in 1..=4 {
            let key = format!("agent:fox:ws:{n}");
            db.stores.sessions.open(tenant, &new_session(fox.id, &key), at(n)).await.unwrap();
            db.stores.sessions.append(tenant, &key, &[], &titled(if n % 2 == 0 { "even" } else { "Even" }), at(n)).await.unwrap();
        }
        let named = |numbers: &[i64]| (numbers.iter().map(|n| format!("agent:fox:ws:{n}")).collect::<Vec<_>>(), numbers.len() as i64);
        for (filter, expected) in [
            (SessionFilter { label: Some("even".into()), ..all() }, named(&[4, 2])),
            (SessionFilter { label: Some("%".into()), ..all() }, named(&[])),
            (SessionFilter { updated_since: Some(at(3)), ..all() }, named(&[4, 3])),
            (SessionFilter { updated_since: Some(at(3)), label: Some("Even".into()), agent_key: Some("fox".into()), user_id: Some("user@example.com".into()), ..all() }, named(&[3])),
        ] {
            let (page, total) = db.stores.sessions.list(tenant, &filter).await.unwrap();
            assert_eq!((keys(page), total), expected, "{filter:?}");
        }
    }

    async fn a_message_comes_back_as_it_was_stored_without_the_providers_own_blocks(db) {
        let tenant = db.tenant("a").await;
        let fox = db.agent(tenant, "fox").await;
        db.session(tenant, fox.id, KEY).await;
        let messages = [
            ChatMessage { created_at: Some(at(1)), ..ChatMessage::new(MessageRole::System, "") },
            said("hello"),
            full_message(),
            ChatMessage { created_at: Some(at(4)), ..ChatMessage::tool_result("call_1", "text", false) },
            ChatMessage { created_at: Some(at(5)), ..ChatMessage::tool_result("call_2", "failed", true) },
        ];
        let with_raw: Vec<_> = messages.iter().map(|message| ChatMessage { raw: Some(serde_json::json!([1])), ..message.clone() }).collect();
        db.stores.sessions.append(tenant, KEY, &with_raw, &none(), at(5)).await.unwrap();
        assert_eq!(db.stores.sessions.messages(tenant, KEY, None).await.unwrap(), messages);
    }

    async fn a_message_without_a_time_was_said_when_it_was_added(db) {
        let tenant = db.tenant("a").await;
        let fox = db.agent(tenant, "fox").await;
        db.session(tenant, fox.id, KEY).await;
        let messages = [ChatMessage::new(MessageRole::Assistant, "undated"), said("dated")];
        db.stores.sessions.append(tenant, KEY, &messages, &none(), at(7)).await.unwrap();
        let times: Vec<_> = db.stores.sessions.messages(tenant, KEY, None).await.unwrap().into_iter().map(|message| message.created_at).collect();
        assert_eq!(times, [Some(at(7)), Some(at(0))]);
    }

    async fn a_message_of_a_megabyte_is_kept(db) {
        let tenant = db.tenant("a").await;
        let fox = db.agent(tenant, "fox").await;
        db.session(tenant, fox.id, KEY).await;
        let big = said("🦀".repeat(1 << 18));
        db.stores.sessions.append(tenant, KEY, std::slice::from_ref(&big), &none(), at(2)).await.unwrap();
        assert!(db.stores.sessions.find(tenant, KEY).await.unwrap().unwrap().message_bytes > 1 << 20);
        assert_eq!(db.stores.sessions.messages(tenant, KEY, None).await.unwrap(), [big]);
    }

    /// No database keeps U+0000 in every place; whatever takes its place, a message that holds one must not break the session.
    async fn a_message_with_nul_characters_is_kept_but_for_those(db) {
        let tenant = db.tenant("a").await;
        let fox = db.agent(tenant, "fox").await;
        db.session(tenant, fox.id, KEY).await;
        let mut message = said("before\0after");
        message.tool_calls.push(ToolCall {
            id: "call_1".into(),
            name: "write_file".into(),
            arguments: goclaw_tests::fixtures::object(serde_json::json!({"con\0tent": "bin\0ary"})),
            metadata: BTreeMap::new(),
            parse_error: String::new(),
        });
        db.stores.sessions.append(tenant, KEY, &[message], &none(), at(2)).await.unwrap();
        let kept = serde_json::to_string(&db.stores.sessions.messages(tenant, KEY, None).await.unwrap()).unwrap();
        let plain = kept.replace("\\u0000", "").replace('\u{FFFD}', "");
        for part in ["\"beforeafter\"", "\"content\"", "\"binary\""] {
            assert!(plain.contains(part), "{part} in {kept}");
        }
        db.stores.sessions.append(tenant, KEY, &[said("next")], &none(), at(3)).await.unwrap();
        assert_eq!(texts(&db, tenant, KEY).await.last().unwrap(), "next");
    }

    async fn a_context_file_with_nul_characters_breaks_nothing(db) {
        let tenant = db.tenant("a").await;
        let fox = db.agent(tenant, "fox").await;
        if let Err(error) = db.stores.agents.put_file(tenant, fox.id, &file("SOUL.md", "be\0fore"), at(1)).await {
            assert_eq!(error.kind, goclaw_ports::ErrorKind::Invalid, "{error}");
        }
        db.stores.agents.put_file(tenant, fox.id, &file("SOUL.md", "after"), at(1)).await.unwrap();
        assert_eq!(db.stores.agents.files(tenant, fox.id).await.unwrap(), [file("SOUL.md", "after")]);
    }

    async fn appending_counts_tokens_and_notes_who_answered(db) {
        let tenant = db.tenant("a").await;
        let fox = db.agent(tenant, "fox").await;
        db.session(tenant, fox.id, KEY).await;
        let metadata = |pairs: &[(&str, &str)]| pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect::<BTreeMap<_, _>>();
        let first = SessionDelta { input_tokens: 10, output_tokens: 5, model: Some("m1".into()), provider: Some("p1".into()), metadata: metadata(&[("a", "1"), ("b", "🦀")]), ..none() };
        db.stores.sessions.append(tenant, KEY, &[said("one"), said("two")], &first, at(2)).await.unwrap();
        let one = db.stores.sessions.find(tenant, KEY).await.unwrap().unwrap();
        assert_eq!((one.input_tokens, one.output_tokens, one.model.as_str(), one.provider.as_str()), (10, 5, "m1", "p1"));
        assert_eq!((one.message_count, one.updated_at, one.created_at), (2, at(2), at(0)));
        assert!(one.message_bytes >= (serde_json::to_string(&said("one")).unwrap().len() + "two".len()) as i64);
        assert_eq!(one.metadata, metadata(&[("a", "1"), ("b", "🦀")]));

        let second = SessionDelta { input_tokens: 1, output_tokens: 2, model: None, provider: Some("p2".into()), metadata: metadata(&[("a", "2"), ("c", "")]), ..none() };
        db.stores.sessions.append(tenant, KEY, &[said("three")], &second, at(3)).await.unwrap();
        let two = db.stores.sessions.find(tenant, KEY).await.unwrap().unwrap();
        assert_eq!((two.input_tokens, two.output_tokens, two.model.as_str(), two.provider.as_str()), (11, 7, "m1", "p2"));
        assert_eq!((two.message_count, two.updated_at), (3, at(3)));
        assert!(two.message_bytes > one.message_bytes);
        assert_eq!(two.metadata, metadata(&[("a", "2"), ("b", "🦀"), ("c", "")]));
    }

    async fn a_delta_may_come_without_messages(db) {
        let tenant = db.tenant("a").await;
        let fox = db.agent(tenant, "fox").await;
        db.session(tenant, fox.id, KEY).await;
        db.stores.sessions.append(tenant, KEY, &[], &SessionDelta { output_tokens: 4, ..none() }, at(2)).await.unwrap();
        let session = db.stores.sessions.find(tenant, KEY).await.unwrap().unwrap();
        assert_eq!((session.output_tokens, session.message_count), (4, 0));
    }

    async fn the_last_messages_come_oldest_first(db) {
        let tenant = db.tenant("a").await;
        let fox = db.agent(tenant, "fox").await;
        db.session(tenant, fox.id, KEY).await;
        for batch in [["1", "2"], ["3", "4"], ["5", "6"]] {
            db.stores.sessions.append(tenant, KEY, &batch.map(said), &none(), at(2)).await.unwrap();
        }
        for (limit, expected) in [(None, "123456"), (Some(3), "456"), (Some(1), "6"), (Some(6), "123456"), (Some(100), "123456"), (Some(0), "")] {
            let messages = db.stores.sessions.messages(tenant, KEY, limit).await.unwrap();
            assert_eq!(messages.into_iter().map(|message| message.content).collect::<String>(), expected, "{limit:?}");
        }
    }

    async fn many_appenders_lose_nothing_and_keep_their_order(db) {
        let tenant = db.tenant("a").await;
        let fox = db.agent(tenant, "fox").await;
        db.session(tenant, fox.id, KEY).await;
        let db = &db;
        let appender = async |writer: usize| {
            for batch in 0..5 {
                let messages: Vec<_> = (0..3).map(|n| said(format!("{writer}:{}", batch * 3 + n))).collect();
                let delta = SessionDelta { input_tokens: 1, output_tokens: 2, ..none() };
                db.stores.sessions.append(tenant, KEY, &messages, &delta, at(2)).await.unwrap();
            }
        };
        futures_util::future::join_all((0..64).map(appender)).await;

        let texts = texts(db, tenant, KEY).await;
        assert_eq!(texts.len(), 64 * 15);
        let mut next = [0; 64];
        for batch in texts.chunks(3) {
            for text in batch {
                let (writer, n) = text.split_once(':').unwrap();
                assert_eq!(writer, batch[0].split_once(':').unwrap().0, "a batch stays together");
                let writer: usize = writer.parse().unwrap();
                assert_eq!(n.parse::<usize>().unwrap(), next[writer], "writer {writer} stays in order");
                next[writer] += 1;
            }
        }
        let session = db.stores.sessions.find(tenant, KEY).await.unwrap().unwrap();
        assert_eq!((session.message_count, session.input_tokens, session.output_tokens), (64 * 15, 320, 640));
    }

    async fn a_title_is_set(db) {
        let tenant = db.tenant("a").await;
        let fox = db.agent(tenant, "fox").await;
        db.session(tenant, fox.id, KEY).await;
        let title = "🦀".repeat(500);
        db.stores.sessions.append(tenant, KEY, &[], &titled(&title), at(5)).await.unwrap();
        db.stores.sessions.append(tenant, KEY, &[said("hi")], &none(), at(6)).await.unwrap();
        assert_eq!(db.stores.sessions.find(tenant, KEY).await.unwrap().unwrap().label, title);
        db.stores.sessions.append(tenant, KEY, &[], &titled(""), at(7)).await.unwrap();
        assert_eq!(db.stores.sessions.find(tenant, KEY).await.unwrap().unwrap().label, "", "a title can be taken away");
    }

    async fn a_session_is_entitled_once_and_keeps_its_place(db) {
        let tenant = db.tenant("a").await;
        let fox = db.agent(tenant, "fox").await;
        db.session(tenant, fox.id, KEY).await;
        let before = db.stores.sessions.find(tenant, KEY).await.unwrap().unwrap();
        assert!(db.stores.sessions.entitle(tenant, KEY, "first").await.unwrap());
        assert!(!db.stores.sessions.entitle(tenant, KEY, "second").await.unwrap());
        assert!(!db.stores.sessions.entitle(tenant, "agent:fox:ws:direct:none", "x").await.unwrap());
        let after = db.stores.sessions.find(tenant, KEY).await.unwrap().unwrap();
        assert_eq!((after.label.as_str(), after.updated_at), ("first", before.updated_at));
    }

    async fn a_reset_removes_the_messages_and_keeps_title_tokens_and_metadata(db) {
        let tenant = db.tenant("a").await;
        let fox = db.agent(tenant, "fox").await;
        db.session(tenant, fox.id, KEY).await;
        let delta = SessionDelta { input_tokens: 3, output_tokens: 4, metadata: BTreeMap::from([("k".into(), "v".into())]), ..titled("title") };
        db.stores.sessions.append(tenant, KEY, &[said("old"), said("older")], &delta, at(2)).await.unwrap();
        assert!(db.stores.sessions.reset(tenant, KEY, at(5)).await.unwrap());
        let session = db.stores.sessions.find(tenant, KEY).await.unwrap().unwrap();
        assert_eq!((session.message_count, session.message_bytes, session.summary.as_str()), (0, 0, ""));
        assert_eq!((session.label.as_str(), session.input_tokens, session.output_tokens), ("title", 3, 4));
        assert_eq!(session.metadata, BTreeMap::from([("k".into(), "v".into())]));
        assert!(db.stores.sessions.messages(tenant, KEY, None).await.unwrap().is_empty());
        db.stores.sessions.append(tenant, KEY, &[said("new")], &none(), at(6)).await.unwrap();
        assert_eq!(texts(&db, tenant, KEY).await, ["new"]);
    }

    async fn a_session_is_deleted_with_its_messages(db) {
        let tenant = db.tenant("a").await;
        let fox = db.agent(tenant, "fox").await;
        for key in [KEY, "agent:fox:ws:2"] {
            db.session(tenant, fox.id, key).await;
            db.stores.sessions.append(tenant, key, &[said("x")], &none(), at(2)).await.unwrap();
        }
        assert!(db.stores.sessions.delete(tenant, KEY).await.unwrap());
        assert!(!db.stores.sessions.delete(tenant, KEY).await.unwrap());
        assert_eq!(db.stores.sessions.find(tenant, KEY).await.unwrap(), None);
        assert_fails!(db.stores.sessions.append(tenant, KEY, &[said("x")], &none(), at(3)).await, NotFound);
        assert_eq!(texts(&db, tenant, "agent:fox:ws:2").await, ["x"]);
        db.session(tenant, fox.id, KEY).await;
        assert!(texts(&db, tenant, KEY).await.is_empty(), "a new session of the same key is empty");
    }

    async fn sessions_of_one_tenant_are_out_of_reach_of_another(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        let (of_a, of_b) = (db.agent(a, "fox").await, db.agent(b, "fox").await);
        db.session(a, of_a.id, KEY).await;
        db.stores.sessions.append(a, KEY, &[said("of a")], &none(), at(2)).await.unwrap();
        let before = db.stores.sessions.find(a, KEY).await.unwrap();

        assert_eq!(db.stores.sessions.find(b, KEY).await.unwrap(), None);
        assert_eq!(db.stores.sessions.list(b, &all()).await.unwrap(), (vec![], 0));
        assert_eq!(db.stores.sessions.count(b).await.unwrap(), 0);
        assert!(db.stores.sessions.messages(b, KEY, None).await.unwrap().is_empty());
        assert!(db.stores.sessions.messages_after(b, KEY, i64::MIN, 9).await.unwrap().is_empty());
        assert!(db.stores.sessions.messages_before(b, KEY, None, 9).await.unwrap().is_empty());
        let compaction = Compaction { session: before.as_ref().unwrap().id, through: i64::MAX, summary: "stolen".into(), after: 0 };
        assert!(!db.stores.sessions.compact(b, &compaction).await.unwrap());
        assert_fails!(db.stores.sessions.append(b, KEY, &[said("of b")], &SessionDelta { input_tokens: 9, ..none() }, at(3)).await, NotFound);
        assert_fails!(db.stores.sessions.append(b, KEY, &[], &titled("stolen"), at(3)).await, NotFound);
        assert!(!db.stores.sessions.entitle(b, KEY, "stolen").await.unwrap());
        assert!(!db.stores.sessions.reset(b, KEY, at(3)).await.unwrap());
        assert!(!db.stores.sessions.delete(b, KEY).await.unwrap());
        assert_eq!(db.stores.sessions.find(a, KEY).await.unwrap(), before);
        assert_eq!(texts(&db, a, KEY).await, ["of a"]);

        db.session(b, of_b.id, KEY).await;
        db.stores.sessions.append(b, KEY, &[said("of b")], &none(), at(4)).await.unwrap();
        assert_eq!(texts(&db, b, KEY).await, ["of b"]);
        assert!(db.stores.sessions.reset(b, KEY, at(5)).await.unwrap());
        db.stores.sessions.append(b, KEY, &[], &titled("of b"), at(5)).await.unwrap();
        assert!(db.stores.sessions.delete(b, KEY).await.unwrap());
        assert_eq!(db.stores.sessions.find(a, KEY).await.unwrap(), before);
        assert_eq!(texts(&db, a, KEY).await, ["of a"]);
    }

    async fn messages_are_read_before_and_after_a_place(db) {
        let tenant = db.tenant("a").await;
        let fox = db.agent(tenant, "fox").await;
        db.session(tenant, fox.id, KEY).await;
        db.stores.sessions.append(tenant, KEY, &["1", "2", "3", "4", "5"].map(said), &none(), at(2)).await.unwrap();
        let all = db.stores.sessions.messages_before(tenant, KEY, None, 100).await.unwrap();
        assert!(all.is_sorted_by(|one, next| one.seq < next.seq));
        let third = all[2].seq;
        let texts = |stored: Vec<StoredMessage>| stored.into_iter().map(|stored| stored.message.content).collect::<String>();
        for (before, limit, expected) in [(None, 2, "45"), (Some(third), 100, "12"), (Some(third), 1, "2"), (Some(all[0].seq), 9, ""), (Some(i64::MAX), 1, "5"), (None, 0, "")] {
            assert_eq!(texts(db.stores.sessions.messages_before(tenant, KEY, before, limit).await.unwrap()), expected, "{before:?} {limit}");
        }
        for (after, limit, expected) in [(i64::MIN, 2, "12"), (third, 100, "45"), (third, 1, "4"), (all[4].seq, 9, ""), (i64::MIN, 0, "")] {
            assert_eq!(texts(db.stores.sessions.messages_after(tenant, KEY, after, limit).await.unwrap()), expected, "{after} {limit}");
        }
    }

    async fn a_summary_takes_the_place_of_the_older_messages(db) {
        let tenant = db.tenant("a").await;
        let fox = db.agent(tenant, "fox").await;
        db.session(tenant, fox.id, KEY).await;
        db.stores.sessions.append(tenant, KEY, &["1", "2", "3", "4"].map(said), &SessionDelta { input_tokens: 9, ..titled("title") }, at(2)).await.unwrap();
        let before = db.stores.sessions.find(tenant, KEY).await.unwrap().unwrap();
        let all = db.stores.sessions.messages_before(tenant, KEY, None, 100).await.unwrap();
        let compaction = Compaction { session: before.id, through: all[1].seq, summary: "one and two 🦊".into(), after: 0 };
        // What is said meanwhile stays.
        db.stores.sessions.append(tenant, KEY, &[said("5")], &none(), at(3)).await.unwrap();
        assert!(db.stores.sessions.compact(tenant, &compaction).await.unwrap());
        assert_eq!(texts(&db, tenant, KEY).await, ["3", "4", "5"]);
        let after = db.stores.sessions.find(tenant, KEY).await.unwrap().unwrap();
        assert!(after.message_bytes > 0 && after.message_bytes < before.message_bytes);
        let expected = Session { summary: "one and two 🦊".into(), compaction_count: 1, message_count: 3, message_bytes: after.message_bytes, updated_at: at(3), ..before };
        assert_eq!(after, expected);

        // Its messages are gone, so a second one changes nothing.
        assert!(!db.stores.sessions.compact(tenant, &Compaction { summary: "again".into(), after: 1, ..compaction.clone() }).await.unwrap());
        assert_eq!(db.stores.sessions.find(tenant, KEY).await.unwrap().unwrap(), expected);

        let late = Compaction { through: all[3].seq, summary: "begun before the other".into(), ..compaction.clone() };
        assert!(!db.stores.sessions.compact(tenant, &late).await.unwrap(), "it lacks what the other summed up");
        assert!(db.stores.sessions.compact(tenant, &Compaction { through: all[3].seq, summary: "one to four".into(), after: 1, ..compaction.clone() }).await.unwrap());
        let session = db.stores.sessions.find(tenant, KEY).await.unwrap().unwrap();
        assert_eq!((session.summary.as_str(), session.compaction_count, session.message_count), ("one to four", 2, 1));
        db.stores.sessions.append(tenant, KEY, &[said("6")], &none(), at(4)).await.unwrap();
        assert_eq!(texts(&db, tenant, KEY).await, ["5", "6"]);
    }

    async fn a_session_that_was_reset_or_made_anew_is_not_compacted(db) {
        let tenant = db.tenant("a").await;
        let fox = db.agent(tenant, "fox").await;
        db.session(tenant, fox.id, KEY).await;
        db.stores.sessions.append(tenant, KEY, &["1", "2"].map(said), &none(), at(2)).await.unwrap();
        let session = db.stores.sessions.find(tenant, KEY).await.unwrap().unwrap();
        let through = db.stores.sessions.messages_before(tenant, KEY, None, 1).await.unwrap()[0].seq;
        let compaction = Compaction { session: session.id, through, summary: "old".into(), after: 0 };
        db.stores.sessions.reset(tenant, KEY, at(3)).await.unwrap();
        db.stores.sessions.append(tenant, KEY, &[said("new")], &none(), at(4)).await.unwrap();
        assert!(!db.stores.sessions.compact(tenant, &compaction).await.unwrap());
        db.stores.sessions.delete(tenant, KEY).await.unwrap();
        db.session(tenant, fox.id, KEY).await;
        db.stores.sessions.append(tenant, KEY, &["3", "4"].map(said), &none(), at(5)).await.unwrap();
        assert!(!db.stores.sessions.compact(tenant, &compaction).await.unwrap());
        assert_eq!(texts(&db, tenant, KEY).await, ["3", "4"]);
        assert_eq!(db.stores.sessions.find(tenant, KEY).await.unwrap().unwrap().summary, "");
    }

    async fn compacting_and_appending_at_once_lose_nothing_and_count_right(db) {
        let tenant = db.tenant("a").await;
        let fox = db.agent(tenant, "fox").await;
        db.session(tenant, fox.id, KEY).await;
        db.stores.sessions.append(tenant, KEY, &[said("0")], &none(), at(2)).await.unwrap();
        let session = db.stores.sessions.find(tenant, KEY).await.unwrap().unwrap();
        let db = &db;
        let append = async |n: usize| db.stores.sessions.append(tenant, KEY, &[said(n.to_string())], &none(), at(3)).await.unwrap();
        let compact = async {
            let through = db.stores.sessions.messages_before(tenant, KEY, None, 1).await.unwrap()[0].seq;
            let older = db.stores.sessions.messages_before(tenant, KEY, Some(through + 1), 100).await.unwrap().len();
            assert!(db.stores.sessions.compact(tenant, &Compaction { session: session.id, through, summary: "s".into(), after: 0 }).await.unwrap());
            older
        };
        let (_, gone) = futures_util::future::join(futures_util::future::join_all((1..=32).map(append)), compact).await;
        let left = texts(db, tenant, KEY).await.len();
        assert_eq!(left + gone, 33);
        assert_eq!(db.stores.sessions.find(tenant, KEY).await.unwrap().unwrap().message_count, left as i64);
    }
}
