use chrono::{DateTime, Utc};
use goclaw_ports::{MediaId, SessionId, TenantId, media::Media, sessions::NewSession};
use goclaw_tests::{TestDatabase, fixtures::at};
use uuid::Uuid;

fn media(session: &str, created_at: DateTime<Utc>) -> Media {
    let id = MediaId(Uuid::new_v4());
    Media { id, session_key: session.into(), path: format!("/w/fox/.uploads/tệp 🦀 {id}.jpg"), mime_type: "image/jpeg".into(), created_at }
}

async fn open_session(db: &TestDatabase, tenant: TenantId, key: &str) {
    let agent = db.agent(tenant, "fox").await;
    let new = NewSession { id: SessionId(Uuid::now_v7()), key: key.into(), agent_id: agent.id, user_id: "mai".into(), channel: "ws".into() };
    db.stores.sessions.open(tenant, &new, at(0)).await.unwrap();
}

on_both_databases! {
    async fn a_file_comes_back_as_it_was_stored(db) {
        let a = db.tenant("a").await;
        let (one, two) = (media("agent:fox:ws:1", at(1)), media("agent:fox:ws:1", at(0)));
        for media in [&one, &two] {
            db.stores.media.insert(a, media).await.unwrap();
        }
        assert_fails!(db.stores.media.insert(a, &one).await, AlreadyExists);
        assert_eq!(db.stores.media.find(a, one.id).await.unwrap(), Some(one.clone()));
        assert_eq!(db.stores.media.find(a, MediaId(Uuid::new_v4())).await.unwrap(), None);
        assert_eq!(db.stores.media.all_tenants_find(one.id).await.unwrap(), Some(one.clone()));
        assert_eq!(db.stores.media.of_session(a, "agent:fox:ws:1").await.unwrap(), [two, one]);
        assert!(db.stores.media.of_session(a, "agent:fox:ws:2").await.unwrap().is_empty());
    }

    async fn all_files_of_a_tenant_are_gone_through_in_parts(db) {
        let a = db.tenant("a").await;
        let mut all: Vec<Media> = (0..5).map(|n| media(&format!("s{}", n % 2), at(n))).collect();
        for media in &all {
            db.stores.media.insert(a, media).await.unwrap();
        }
        all.sort_by_key(|media| media.id);
        let (mut found, mut after) = (vec![], None);
        loop {
            let part = db.stores.media.of_tenant(a, after, 2).await.unwrap();
            assert!(part.len() <= 2);
            let Some(last) = part.last() else { break };
            after = Some(last.id);
            found.extend(part);
        }
        assert_eq!(found, all);
    }

    async fn a_forgotten_file_is_gone(db) {
        let a = db.tenant("a").await;
        let stored = media("s", at(0));
        db.stores.media.insert(a, &stored).await.unwrap();
        assert!(db.stores.media.remove(a, stored.id).await.unwrap());
        assert!(!db.stores.media.remove(a, stored.id).await.unwrap());
        assert_eq!(db.stores.media.find(a, stored.id).await.unwrap(), None);
    }

    async fn files_whose_session_is_gone_are_found_the_oldest_first(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        open_session(&db, a, "here").await;
        let of_session = media("here", at(0));
        let (lost, later, new) = (media("gone", at(2)), media("gone", at(3)), media("gone", at(9)));
        for media in [&of_session, &lost, &later, &new] {
            db.stores.media.insert(a, media).await.unwrap();
        }
        // A session of the same name in another tenant is another one.
        let of_b = media("here", at(1));
        db.stores.media.insert(b, &of_b).await.unwrap();
        assert_eq!(db.stores.media.all_tenants_orphans(at(9), 10).await.unwrap(), [(b, of_b.clone()), (a, lost), (a, later)]);
        assert_eq!(db.stores.media.all_tenants_orphans(at(9), 1).await.unwrap(), [(b, of_b)]);
        db.stores.sessions.delete(a, "here").await.unwrap();
        assert_eq!(db.stores.media.all_tenants_orphans(at(1), 10).await.unwrap(), [(a, of_session)]);
    }

    async fn files_of_one_tenant_are_out_of_reach_of_another(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        let stored = media("s", at(0));
        db.stores.media.insert(a, &stored).await.unwrap();
        assert_eq!(db.stores.media.find(b, stored.id).await.unwrap(), None);
        assert!(db.stores.media.of_session(b, "s").await.unwrap().is_empty());
        assert!(db.stores.media.of_tenant(b, None, 9).await.unwrap().is_empty());
        assert!(!db.stores.media.remove(b, stored.id).await.unwrap());
        assert_fails!(db.stores.media.insert(b, &stored).await, AlreadyExists);
        assert_eq!(db.stores.media.find(a, stored.id).await.unwrap(), Some(stored));
    }
}
