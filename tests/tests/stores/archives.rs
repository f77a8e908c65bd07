//! What goes into archives of agents, and comes out of them.

use futures_util::{StreamExt, stream};
use goclaw_ports::{
    AgentId, Error, Result,
    agents::{Agent, ContextFile},
    archives::{ArchiveCounts, ArchivedProfile, ImportCounts, ImportRow, ImportRows, ImportTarget},
};
use goclaw_tests::fixtures::{agent, at, file, object};
use serde_json::json;
use uuid::Uuid;

fn rows(batches: Vec<Result<Vec<ImportRow>>>) -> ImportRows {
    stream::iter(batches).boxed()
}

fn profile(user: &str) -> ArchivedProfile {
    ArchivedProfile { user_id: user.into(), workspace: None, metadata: None }
}

fn some_rows() -> Vec<ImportRow> {
    vec![
        ImportRow::ContextFile(file("SOUL.md", "soul")),
        ImportRow::UserFile("mai".into(), file("USER.md", "first")),
        ImportRow::UserFile("mai".into(), file("USER.md", "last")),
        ImportRow::Profile(ArchivedProfile { metadata: Some(object(json!({"a": "1"}))), ..profile("mai") }),
        ImportRow::Profile(profile("mai")),
    ]
}

fn new(agent: &Agent, limit: i64) -> ImportTarget {
    ImportTarget::New(Box::new(agent.clone()), limit)
}

on_both_databases! {
    async fn what_there_is_of_an_agent_is_counted(db) {
        let tenant = db.tenant("a").await;
        let (fox, wolf) = (db.agent(tenant, "fox").await, db.agent(tenant, "wolf").await);
        let agents = &db.stores.agents;
        assert_eq!(db.stores.archives.archive_counts(tenant, fox.id).await.unwrap(), ArchiveCounts::default());
        agents.put_file(tenant, fox.id, &file("SOUL.md", "x"), at(1)).await.unwrap();
        for (user, name) in [("mai", "USER.md"), ("mai", "SOUL.md"), ("lan", "USER.md")] {
            agents.put_user_file(tenant, fox.id, user, &file(name, "x"), at(1)).await.unwrap();
            agents.touch_profile(tenant, wolf.id, user, "/w", &[], at(1)).await.unwrap();
        }
        agents.touch_profile(tenant, fox.id, "mai", "/w", &[], at(1)).await.unwrap();
        let expected = ArchiveCounts { context_files: 1, users_with_files: 2, profiles: 1 };
        assert_eq!(db.stores.archives.archive_counts(tenant, fox.id).await.unwrap(), expected);
    }

    async fn files_and_users_are_read_in_pages(db) {
        let tenant = db.tenant("a").await;
        let fox = db.agent(tenant, "fox").await;
        let (agents, archives) = (&db.stores.agents, &db.stores.archives);
        for user in ["mai", "lan", "Zoe", "group:telegram:-100"] {
            for name in ["USER.md", "SOUL.md"] {
                agents.put_user_file(tenant, fox.id, user, &file(name, user), at(1)).await.unwrap();
            }
            agents.touch_profile(tenant, fox.id, user, if user == "lan" { "" } else { "/w" }, &[], at(1)).await.unwrap();
        }
        agents.merge_metadata(tenant, fox.id, "mai", &object(json!({"name": "Mai"}))).await.unwrap();
        let mut files: Vec<(String, ContextFile)> = Vec::new();
        loop {
            let after = files.last().map(|(user, file)| (user.as_str(), file.name.as_str()));
            let page = archives.user_files_after(tenant, fox.id, after, 3).await.unwrap();
            if page.is_empty() { break }
            files.extend(page);
        }
        let found: Vec<_> = files.iter().map(|(user, file)| (user.as_str(), file.name.as_str())).collect();
        let expected = ["Zoe", "group:telegram:-100", "lan", "mai"].map(|user| [(user, "SOUL.md"), (user, "USER.md")]).concat();
        assert_eq!(found, expected);
        let first = archives.profiles_after(tenant, fox.id, None, 2).await.unwrap();
        let at_w = |user: &str| ArchivedProfile { workspace: Some("/w".into()), ..profile(user) };
        assert_eq!(first, [at_w("Zoe"), at_w("group:telegram:-100")]);
        let rest = archives.profiles_after(tenant, fox.id, Some("group:telegram:-100"), 9).await.unwrap();
        assert_eq!(rest, [profile("lan"), ArchivedProfile { metadata: Some(object(json!({"name": "Mai"}))), ..at_w("mai") }]);
    }

    async fn an_agent_comes_with_its_rows(db) {
        let tenant = db.tenant("a").await;
        let fox = agent(tenant, "fox");
        let batches = vec![Ok(some_rows()), Ok(vec![]), Ok(vec![ImportRow::UserFile("lan".into(), file("USER.md", "Cáo \0 🦊"))])];
        let counts = db.stores.archives.import(tenant, new(&fox, 0), rows(batches), at(9)).await.unwrap();
        assert_eq!(counts, ImportCounts { context_files: 1, user_files: 3, profiles: 1 });
        let agents = &db.stores.agents;
        assert_eq!(agents.find(tenant, "fox").await.unwrap(), Some(fox.clone()));
        assert_eq!(agents.files(tenant, fox.id).await.unwrap(), [file("SOUL.md", "soul")]);
        assert_eq!(agents.user_files(tenant, fox.id, "mai").await.unwrap(), [file("USER.md", "last")]);
        assert!(agents.user_files(tenant, fox.id, "lan").await.unwrap()[0].content.ends_with("🦊"));
        let users = agents.instances(tenant, fox.id).await.unwrap();
        assert_eq!((users.len(), users[0].first_seen_at, &users[0].metadata), (1, at(9), &object(json!({"a": "1"}))));
        let profile = agents.touch_profile(tenant, fox.id, "mai", "/first", &[], at(10)).await.unwrap();
        assert_eq!(profile.workspace, "/first", "the directory is that of the first contact here");
    }

    async fn rows_go_into_an_agent_that_is_there(db) {
        let tenant = db.tenant("a").await;
        let fox = db.agent(tenant, "fox").await;
        let agents = &db.stores.agents;
        agents.put_file(tenant, fox.id, &file("SOUL.md", "old"), at(1)).await.unwrap();
        agents.put_file(tenant, fox.id, &file("AGENTS.md", "kept"), at(1)).await.unwrap();
        agents.touch_profile(tenant, fox.id, "mai", "/w", &[], at(1)).await.unwrap();
        let counts = db.stores.archives.import(tenant, ImportTarget::Existing(fox.id), rows(vec![Ok(some_rows())]), at(9)).await.unwrap();
        assert_eq!(counts, ImportCounts { context_files: 1, user_files: 2, profiles: 0 });
        assert_eq!(agents.find(tenant, "fox").await.unwrap(), Some(fox.clone()));
        assert_eq!(agents.files(tenant, fox.id).await.unwrap(), [file("AGENTS.md", "kept"), file("SOUL.md", "soul")]);
        let users = agents.instances(tenant, fox.id).await.unwrap();
        assert!(users[0].first_seen_at == at(1) && users[0].metadata.is_empty(), "who is known stays as it is");
    }

    async fn rows_that_end_badly_leave_nothing(db) {
        let tenant = db.tenant("a").await;
        let fox = db.agent(tenant, "fox").await;
        let archives = &db.stores.archives;
        let bad = || rows(vec![Ok(some_rows()), Err(Error::invalid_request("damaged"))]);
        assert_fails!(archives.import(tenant, new(&agent(tenant, "wolf"), 0), bad(), at(9)).await, Invalid);
        assert_fails!(archives.import(tenant, ImportTarget::Existing(fox.id), bad(), at(9)).await, Invalid);
        assert_eq!(db.stores.agents.find(tenant, "wolf").await.unwrap(), None);
        assert_eq!(archives.archive_counts(tenant, fox.id).await.unwrap(), ArchiveCounts::default());
    }

    async fn a_key_that_is_taken_a_limit_and_an_agent_that_is_not_there_are_told(db) {
        let tenant = db.tenant("a").await;
        let fox = db.agent(tenant, "fox").await;
        let archives = &db.stores.archives;
        let all = || rows(vec![Ok(some_rows())]);
        assert_fails!(archives.import(tenant, new(&agent(tenant, "fox"), 0), all(), at(9)).await, AlreadyExists);
        assert_fails!(archives.import(tenant, new(&agent(tenant, "wolf"), 1), all(), at(9)).await, Precondition);
        for nothing in [false, true] {
            let rows = if nothing { rows(vec![]) } else { all() };
            assert_fails!(archives.import(tenant, ImportTarget::Existing(AgentId(Uuid::now_v7())), rows, at(9)).await, NotFound);
        }
        assert_eq!(db.stores.agents.count(tenant).await.unwrap(), 1);
        assert_eq!(archives.archive_counts(tenant, fox.id).await.unwrap(), ArchiveCounts::default());
    }

    async fn another_tenants_agents_are_out_of_reach(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        let fox = db.agent(a, "fox").await;
        let archives = &db.stores.archives;
        archives.import(a, ImportTarget::Existing(fox.id), rows(vec![Ok(some_rows())]), at(1)).await.unwrap();
        assert_eq!(archives.archive_counts(b, fox.id).await.unwrap(), ArchiveCounts::default());
        assert!(archives.user_files_after(b, fox.id, None, 9).await.unwrap().is_empty());
        assert!(archives.profiles_after(b, fox.id, None, 9).await.unwrap().is_empty());
        let other = rows(vec![Ok(vec![ImportRow::ContextFile(file("SOUL.md", "b"))])]);
        assert_fails!(archives.import(b, ImportTarget::Existing(fox.id), other, at(2)).await, NotFound);
        assert_eq!(db.stores.agents.files(a, fox.id).await.unwrap(), [file("SOUL.md", "soul")]);
        archives.import(b, new(&agent(b, "fox"), 0), rows(vec![]), at(2)).await.unwrap();
        assert_eq!(db.stores.agents.count(a).await.unwrap(), 1);
    }
}
