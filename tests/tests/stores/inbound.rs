use chrono::TimeDelta;
use goclaw_ports::{
    InboundId, TenantId,
    agents::Agent,
    inbound::InboundMessage,
    roles::Role,
    sessions::SessionDelta,
    subagents::{TaskLease, TaskOrigin},
};
use goclaw_tests::{
    TestDatabase,
    fixtures::{at, odd_json, said},
};
use uuid::Uuid;

const ME: Uuid = Uuid::from_u128(1);
const OTHER: Uuid = Uuid::from_u128(2);
const KEY: &str = "agent:fox:ws:direct:1";

fn lease(owner: Uuid, minutes: i64) -> TaskLease {
    TaskLease { owner, lasts: TimeDelta::minutes(minutes) }
}

fn message(agent: &Agent, text: &str) -> InboundMessage {
    InboundMessage {
        id: InboundId(Uuid::now_v7()),
        session_key: KEY.into(),
        agent_id: agent.id,
        text: text.into(),
        origin: TaskOrigin { channel: "ws".into(), chat_id: "mai".into(), peer_kind: "direct".into(), user_id: "mai".into(), role: Role::Operator },
        metadata: odd_json(),
        said: None,
        attempts: 0,
        created_at: at(1),
    }
}

async fn texts(db: &TestDatabase, tenant: TenantId) -> Vec<String> {
    let messages = db.stores.sessions.messages(tenant, KEY, None).await.unwrap();
    assert_eq!(db.stores.sessions.find(tenant, KEY).await.unwrap().map_or(0, |session| session.message_count), messages.len() as i64);
    messages.into_iter().map(|message| message.content).collect()
}

/// What somebody finds who takes everything over.
async fn left(db: &TestDatabase) -> Vec<(TenantId, InboundMessage)> {
    db.stores.inbound.all_tenants_adopt(TimeDelta::days(1_000), lease(OTHER, 1), 99).await.unwrap()
}

fn ids(messages: &[(TenantId, InboundMessage)]) -> Vec<InboundId> {
    messages.iter().map(|(_, message)| message.id).collect()
}

on_both_databases! {
    async fn a_message_is_kept_until_it_is_answered(db) {
        let a = db.tenant("a").await;
        let fox = db.agent(a, "fox").await;
        db.session(a, fox.id, KEY).await;
        let store = &db.stores.inbound;
        let kept = message(&fox, "hello 🦊");
        store.keep(a, &kept, lease(ME, 10)).await.unwrap();
        assert!(texts(&db, a).await.is_empty(), "it is not said yet");
        let found = left(&db).await;
        assert_eq!(found, [(a, InboundMessage { attempts: 1, ..kept.clone() })]);

        db.stores.sessions.append(a, KEY, &[said("before")], &SessionDelta::default(), at(2)).await.unwrap();
        let begun = SessionDelta { said: Some(kept.id), ..SessionDelta::default() };
        db.stores.sessions.append(a, KEY, &[said("hello 🦊"), said("more")], &begun, at(3)).await.unwrap();
        let seq = db.stores.sessions.messages_before(a, KEY, None, 2).await.unwrap()[0].seq;
        assert_eq!(left(&db).await, [(a, InboundMessage { attempts: 2, said: Some(seq), ..kept.clone() })]);

        let answered = SessionDelta { answered: vec![kept.id], ..SessionDelta::default() };
        assert_fails!(db.stores.sessions.append(a, "agent:fox:none", &[said("x")], &answered, at(4)).await, NotFound);
        assert_eq!(left(&db).await.len(), 1, "what is not stored answers nothing");
        db.stores.sessions.append(a, KEY, &[said("well")], &answered, at(4)).await.unwrap();
        assert!(left(&db).await.is_empty());
        assert_eq!(texts(&db, a).await, ["before", "hello 🦊", "more", "well"]);
    }

    async fn a_message_is_said_and_kept_in_one_step_or_not_at_all(db) {
        let a = db.tenant("a").await;
        let fox = db.agent(a, "fox").await;
        let store = &db.stores.inbound;
        assert!(!store.say(a, &message(&fox, "too early"), &[], lease(ME, 10)).await.unwrap());
        assert!(left(&db).await.is_empty());
        db.session(a, fox.id, KEY).await;
        db.stores.sessions.append(a, KEY, &[said("first")], &SessionDelta::default(), at(2)).await.unwrap();
        let (second, third) = (message(&fox, "second"), InboundMessage { created_at: at(5), ..message(&fox, "third") });
        for said in [&second, &third] {
            assert!(store.say(a, said, &[], lease(ME, 10)).await.unwrap());
        }
        assert_eq!(texts(&db, a).await, ["first", "second", "third"]);
        let session = db.stores.sessions.find(a, KEY).await.unwrap().unwrap();
        assert_eq!(session.updated_at, at(5));
        let stored = db.stores.sessions.messages_before(a, KEY, None, 1).await.unwrap().remove(0);
        assert_eq!((stored.message.created_at, left(&db).await[1].1.said), (Some(at(5)), Some(stored.seq)));
        db.stores.sessions.append(a, KEY, &[said("fourth")], &SessionDelta::default(), at(6)).await.unwrap();
        assert_eq!(texts(&db, a).await, ["first", "second", "third", "fourth"]);
        assert!(store.say(a, &InboundMessage { agent_id: goclaw_ports::AgentId(Uuid::nil()), ..message(&fox, "x") }, &[], lease(ME, 10)).await.is_err());
        assert_eq!(texts(&db, a).await.len(), 4, "an agent that is not there answers nothing");
    }

    async fn what_is_retracted_leaves_its_conversation_and_what_is_settled_stays(db) {
        let a = db.tenant("a").await;
        let fox = db.agent(a, "fox").await;
        db.session(a, fox.id, KEY).await;
        let store = &db.stores.inbound;
        let [one, two, three, four] = ["one", "two", "three", "four"].map(|text| message(&fox, text));
        for said in [&one, &two, &three] {
            store.say(a, said, &[], lease(ME, 10)).await.unwrap();
        }
        store.keep(a, &four, lease(ME, 10)).await.unwrap();
        let bytes = async || db.stores.sessions.find(a, KEY).await.unwrap().unwrap().message_bytes;
        let before = bytes().await;
        store.retract(a, &[two.id, four.id, InboundId(Uuid::nil())]).await.unwrap();
        assert_eq!(texts(&db, a).await, ["one", "three"]);
        assert!(bytes().await < before);
        store.settle(a, &[one.id]).await.unwrap();
        assert_eq!(texts(&db, a).await, ["one", "three"]);
        assert_eq!(ids(&left(&db).await), [three.id]);
        store.retract(a, &[one.id]).await.unwrap();
        assert_eq!(texts(&db, a).await, ["one", "three"], "what is settled is not retracted any more");
        store.settle(a, &[]).await.unwrap();
        store.retract(a, &[]).await.unwrap();
    }

    async fn who_holds_on_keeps_its_messages_and_others_take_the_rest(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        let (fox, owl) = (db.agent(a, "fox").await, db.agent(b, "owl").await);
        let store = &db.stores.inbound;
        let [mine, lapsed, freed] = ["mine", "lapsed", "freed"].map(|text| message(&fox, text));
        let of_b = InboundMessage { created_at: at(0), ..message(&owl, "b") };
        for (tenant, kept, until) in [(a, &mine, 10), (a, &lapsed, 10), (a, &freed, 900), (b, &of_b, 10)] {
            store.keep(tenant, kept, lease(ME, until)).await.unwrap();
        }
        store.release(a, &[freed.id]).await.unwrap();
        assert_eq!(store.all_tenants_renew(&[mine.id, freed.id, InboundId(Uuid::nil())], lease(ME, 40)).await.unwrap(), [mine.id]);
        let adopt = async |ahead, limit| store.all_tenants_adopt(TimeDelta::minutes(ahead), lease(OTHER, 60), limit).await.unwrap();
        assert_eq!(ids(&adopt(5, 9).await), [freed.id], "the others still hold");
        assert_eq!(ids(&adopt(20, 1).await), [of_b.id], "the oldest first, and no more than are wanted");
        assert_eq!(ids(&adopt(20, 9).await), [lapsed.id]);
        assert!(adopt(20, 9).await.is_empty() && store.all_tenants_renew(&[lapsed.id], lease(ME, 90)).await.unwrap().is_empty());
        assert_eq!(store.all_tenants_renew(&[lapsed.id], lease(OTHER, 90)).await.unwrap(), [lapsed.id]);
    }

    async fn of_many_who_look_one_gets_each(db) {
        let a = db.tenant("a").await;
        let fox = db.agent(a, "fox").await;
        for n in 0..20 {
            db.stores.inbound.keep(a, &message(&fox, &n.to_string()), lease(ME, 10)).await.unwrap();
        }
        let db = &db;
        let look = async |n: u128| db.stores.inbound.all_tenants_adopt(TimeDelta::minutes(20), lease(Uuid::from_u128(n), 60), 5).await.unwrap().len();
        let found = futures_util::future::join_all((10..18).map(look)).await;
        let rest = left(db).await.iter().filter(|(_, message)| message.attempts == 1).count();
        assert_eq!(found.iter().sum::<usize>() + rest, 20, "{found:?}");
    }

    async fn nothing_is_owed_to_a_session_that_is_reset_or_gone_or_by_an_agent_that_is(db) {
        let a = db.tenant("a").await;
        let (fox, owl) = (db.agent(a, "fox").await, db.agent(a, "owl").await);
        let store = &db.stores.inbound;
        db.session(a, fox.id, KEY).await;
        store.say(a, &message(&fox, "1"), &[], lease(ME, 10)).await.unwrap();
        db.stores.sessions.reset(a, KEY, at(2)).await.unwrap();
        assert!(left(&db).await.is_empty() && texts(&db, a).await.is_empty());
        store.say(a, &message(&fox, "2"), &[], lease(ME, 10)).await.unwrap();
        db.stores.sessions.delete(a, KEY).await.unwrap();
        assert!(left(&db).await.is_empty());
        store.keep(a, &InboundMessage { session_key: "agent:owl:x".into(), ..message(&owl, "3") }, lease(ME, 10)).await.unwrap();
        db.stores.agents.delete(a, owl.id).await.unwrap();
        assert!(left(&db).await.is_empty());
        let unknown = InboundMessage { agent_id: owl.id, ..message(&fox, "4") };
        assert_fails!(store.keep(a, &unknown, lease(ME, 10)).await, NotFound);
    }

    async fn messages_of_one_tenant_are_out_of_reach_of_another(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        let (fox, of_b) = (db.agent(a, "fox").await, db.agent(b, "fox").await);
        db.session(a, fox.id, KEY).await;
        db.session(b, of_b.id, KEY).await;
        let store = &db.stores.inbound;
        let owed = message(&fox, "of a");
        store.say(a, &owed, &[], lease(ME, 10)).await.unwrap();
        assert_fails!(store.keep(b, &message(&fox, "x"), lease(ME, 10)).await, NotFound);
        assert!(store.say(b, &message(&fox, "x"), &[], lease(ME, 10)).await.is_err());
        store.settle(b, &[owed.id]).await.unwrap();
        store.retract(b, &[owed.id]).await.unwrap();
        store.release(b, &[owed.id]).await.unwrap();
        let stolen = SessionDelta { said: Some(owed.id), answered: vec![owed.id], ..SessionDelta::default() };
        db.stores.sessions.append(b, KEY, &[said("of b")], &stolen, at(2)).await.unwrap();
        db.stores.sessions.reset(b, KEY, at(3)).await.unwrap();
        db.stores.sessions.delete(b, KEY).await.unwrap();
        assert_eq!(texts(&db, a).await, ["of a"]);
        assert!(store.all_tenants_adopt(TimeDelta::minutes(5), lease(OTHER, 60), 9).await.unwrap().is_empty(), "nobody let go of it");
        let found = left(&db).await;
        assert_eq!(ids(&found), [owed.id]);
        assert!(found[0].0 == a && found[0].1.said.is_some());
    }
}
