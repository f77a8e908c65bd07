use super::{Place, at};
use goclaw_ports::{
    AgentId, ErrorKind, SessionId, TenantId,
    sessions::{ChatMessage, MessageRole, NewSession, Session, SessionDelta, SessionFilter},
};
use std::{collections::BTreeMap, sync::Arc};
use uuid::Uuid;

const MASTER: TenantId = TenantId::MASTER;

async fn opened(place: &Place, agent: AgentId, key: &str, user: &str, seconds: i64) -> Session {
    let new = NewSession { id: SessionId(Uuid::now_v7()), key: key.to_owned(), agent_id: agent, user_id: user.to_owned(), channel: "ws".to_owned() };
    place.stores.sessions.open(MASTER, &new, at(seconds)).await.unwrap()
}

fn said(text: &str) -> ChatMessage {
    ChatMessage::new(MessageRole::User, text)
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

async fn keys(place: &Place, filter: SessionFilter) -> (Vec<String>, i64) {
    let (sessions, total) = place.stores.sessions.list(MASTER, &filter).await.unwrap();
    (sessions.into_iter().map(|session| session.key).collect(), total)
}

fn all() -> SessionFilter {
    SessionFilter { limit: 100, ..SessionFilter::default() }
}

#[tokio::test]
async fn opening_twice_answers_with_the_first_session() {
    let place = Place::new().await;
    let fox = place.agent(MASTER, "fox").await;
    let first = opened(&place, fox.id, "agent:fox:ws:1", "bob", 1).await;
    assert_eq!(opened(&place, fox.id, "agent:fox:ws:1", "eve", 2).await, first);
    let stranger =
        NewSession { id: SessionId(Uuid::now_v7()), key: "agent:fox:ws:2".to_owned(), agent_id: fox.id, user_id: String::new(), channel: String::new() };
    let other = place.other_tenant().await;
    assert_eq!(place.stores.sessions.open(other, &stranger, at(1)).await.unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(place.stores.sessions.count(MASTER).await.unwrap(), 1);
}

#[tokio::test]
async fn appended_messages_come_back_in_order_and_the_delta_is_applied() {
    let place = Place::new().await;
    let sessions = &place.stores.sessions;
    let fox = place.agent(MASTER, "fox").await;
    let key = "agent:fox:ws:1";
    opened(&place, fox.id, key, "bob", 1).await;
    let awkward = "quote \" backslash \\ newline \n nul \0 ü 🦊";
    let delta = SessionDelta {
        input_tokens: 5,
        output_tokens: 7,
        model: Some("large".to_owned()),
        metadata: map(&[("a", awkward), ("b", "1")]),
        ..SessionDelta::default()
    };
    sessions.append(MASTER, key, &[said("one"), said(awkward)], &delta, at(2)).await.unwrap();
    let delta = SessionDelta { metadata: map(&[("b", "2")]), ..delta };
    let dated = ChatMessage { created_at: Some(at(99)), ..said("three") };
    sessions.append(MASTER, key, std::slice::from_ref(&dated), &SessionDelta { model: None, ..delta }, at(3)).await.unwrap();

    let session = sessions.find(MASTER, key).await.unwrap().unwrap();
    assert_eq!((session.input_tokens, session.output_tokens, session.message_count), (10, 14, 3));
    assert_eq!((session.model.as_str(), session.provider.as_str(), session.updated_at), ("large", "", at(3)));
    assert_eq!(session.metadata, map(&[("a", awkward), ("b", "2")]));
    let messages = sessions.messages(MASTER, key, None).await.unwrap();
    let dated_now = |text| ChatMessage { created_at: Some(at(2)), ..said(text) };
    assert_eq!(messages, [dated_now("one"), dated_now(awkward), dated.clone()]);
    let bytes: usize = messages.iter().map(|message| serde_json::to_string(message).unwrap().len()).sum();
    assert_eq!(session.message_bytes, i64::try_from(bytes).unwrap());
    assert_eq!(sessions.messages(MASTER, key, Some(1)).await.unwrap(), [dated]);
    assert!(sessions.messages(MASTER, key, Some(0)).await.unwrap().is_empty());

    let other = place.other_tenant().await;
    assert_eq!(sessions.append(other, key, &[said("x")], &SessionDelta::default(), at(4)).await.unwrap_err().kind, ErrorKind::NotFound);
    assert!(sessions.messages(other, key, None).await.unwrap().is_empty());
}

#[tokio::test]
async fn writers_at_the_same_time_lose_nothing() {
    let place = Place::new().await;
    let fox = place.agent(MASTER, "fox").await;
    let key = "agent:fox:ws:1";
    opened(&place, fox.id, key, "bob", 1).await;
    let sessions = Arc::clone(&place.stores.sessions);
    let writers: Vec<_> = (0..64)
        .map(|writer| {
            let sessions = Arc::clone(&sessions);
            tokio::spawn(async move {
                for n in 0..10 {
                    let pair = [said(&format!("{writer} asks {n}")), said(&format!("{writer} adds {n}"))];
                    sessions.append(MASTER, key, &pair, &SessionDelta { input_tokens: 1, ..SessionDelta::default() }, at(2)).await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let messages = sessions.messages(MASTER, key, None).await.unwrap();
    assert_eq!(messages.len(), 1280);
    assert!(messages.chunks(2).all(|pair| pair[0].content.replace("asks", "adds") == pair[1].content), "pairs stay together");
    let session = sessions.find(MASTER, key).await.unwrap().unwrap();
    assert_eq!((session.message_count, session.input_tokens), (1280, 640));
}

#[tokio::test]
async fn a_reset_keeps_title_tokens_and_metadata_and_the_order_goes_on() {
    let place = Place::new().await;
    let sessions = &place.stores.sessions;
    let fox = place.agent(MASTER, "fox").await;
    let key = "agent:fox:ws:1";
    opened(&place, fox.id, key, "bob", 1).await;
    let delta = SessionDelta { input_tokens: 5, label: Some("title".to_owned()), metadata: map(&[("a", "1")]), ..SessionDelta::default() };
    sessions.append(MASTER, key, &[said("one")], &delta, at(2)).await.unwrap();
    assert!(sessions.reset(MASTER, key, at(4)).await.unwrap());
    let session = sessions.find(MASTER, key).await.unwrap().unwrap();
    assert_eq!((session.label.as_str(), session.input_tokens, session.message_count, session.message_bytes), ("title", 5, 0, 0));
    assert_eq!(session.metadata, map(&[("a", "1")]));
    sessions.append(MASTER, key, &[said("two")], &SessionDelta::default(), at(5)).await.unwrap();
    assert_eq!(sessions.messages(MASTER, key, None).await.unwrap().len(), 1);

    let other = place.other_tenant().await;
    assert!(!sessions.reset(other, key, at(6)).await.unwrap());
    assert!(!sessions.delete(other, key).await.unwrap());
    assert!(sessions.delete(MASTER, key).await.unwrap());
    assert!(!sessions.delete(MASTER, key).await.unwrap());
}

#[tokio::test]
async fn lists_are_filtered_exactly() {
    let place = Place::new().await;
    let fox = place.agent(MASTER, "fox").await;
    for (n, key) in
        ["agent:fox:ws:1", "agent:foxy:ws:1", "agent:Fox:WS:1", "agent:fox:http:ws:1", "agent:f%x:w_:1", "agent:fox:ws", "ws:ws:ws:1"].iter().enumerate()
    {
        opened(&place, fox.id, key, if n == 0 { "bob" } else { "eve" }, i64::try_from(n).unwrap()).await;
    }
    let agent = |key: &str| SessionFilter { agent_key: Some(key.to_owned()), ..all() };
    let channel = |name: &str| SessionFilter { channel: Some(name.to_owned()), ..all() };
    let list = |keys: &[&str]| (keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>(), i64::try_from(keys.len()).unwrap());
    assert_eq!(keys(&place, agent("fox")).await, list(&["agent:fox:ws", "agent:fox:http:ws:1", "agent:fox:ws:1"]));
    assert_eq!(keys(&place, agent("f%x")).await, list(&["agent:f%x:w_:1"]));
    assert_eq!(keys(&place, channel("ws")).await, list(&["agent:foxy:ws:1", "agent:fox:ws:1"]));
    assert_eq!(keys(&place, channel("w_")).await, list(&["agent:f%x:w_:1"]));
    assert_eq!(keys(&place, SessionFilter { user_id: Some("bob".to_owned()), ..all() }).await, list(&["agent:fox:ws:1"]));
    let both = SessionFilter { channel: Some("ws".to_owned()), user_id: Some("eve".to_owned()), ..agent("foxy") };
    assert_eq!(keys(&place, both).await, list(&["agent:foxy:ws:1"]));

    let page = SessionFilter { limit: 2, offset: 1, ..SessionFilter::default() };
    assert_eq!(keys(&place, page).await, (vec!["agent:fox:ws".to_owned(), "agent:f%x:w_:1".to_owned()], 7));
    assert_eq!(keys(&place, SessionFilter::default()).await, (Vec::new(), 7));
}

#[tokio::test]
async fn an_agent_with_very_many_sessions_is_paged_like_one_with_few() {
    let place = Place::new().await;
    let fox = place.agent(MASTER, "fox").await;
    place.stores.database.close().await;
    let connection = rusqlite::Connection::open(&place.path).unwrap();
    connection
        .execute(
            "with recursive series (value) as (select 1 union all select value + 1 from series where value < 6000)
             insert into sessions (id, tenant_id, session_key, agent_id, created_at, updated_at)
             select printf('00000000-0000-0000-0000-%012d', value), ?1, 'agent:' || iif(value % 2, 'fox', 'owl') || ':ws:' || value, ?2, 0,
                 value * 7919 % 6007 from series",
            [MASTER.to_string(), fox.id.to_string()],
        )
        .unwrap();
    drop(connection);
    let stores = super::open_at(&place.path).await.unwrap();
    let mut expected: Vec<i64> = (1..=6000).filter(|n| n % 2 == 1).collect();
    expected.sort_by_key(|n| std::cmp::Reverse(n * 7919 % 6007));
    let filter = SessionFilter { agent_key: Some("fox".to_owned()), limit: 50, offset: 1000, ..SessionFilter::default() };
    let (page, total) = stores.sessions.list(MASTER, &filter).await.unwrap();
    assert_eq!(total, 3000);
    assert_eq!(
        page.iter().map(|session| session.key.clone()).collect::<Vec<_>>(),
        expected[1000..1050].iter().map(|n| format!("agent:fox:ws:{n}")).collect::<Vec<_>>()
    );
    stores.database.close().await;
}
