//! An agent's shares as they are listed, its users, its status, and how many agents there may be.

use goclaw_ports::{
    AgentId,
    agents::{Agent, AgentStatus},
};
use goclaw_tests::fixtures::{agent, at, file, object, share};
use serde_json::json;
use std::sync::Arc;
use uuid::Uuid;

on_both_databases! {
    async fn shares_are_listed_oldest_first_and_keep_their_ids(db) {
        let tenant = db.tenant("a").await;
        let fox = db.agent(tenant, "fox").await;
        let (lan, mai) = (share(fox.id, "lan", "user", "owner", at(5)), share(fox.id, "mai", "admin", "owner", at(1)));
        for share in [&lan, &mai] {
            db.stores.agents.put_share(tenant, share).await.unwrap();
        }
        assert_eq!(db.stores.agents.shares(tenant, fox.id).await.unwrap(), [mai.clone(), lan.clone()]);
        db.stores.agents.put_share(tenant, &share(fox.id, "mai", "viewer", "lan", at(9))).await.unwrap();
        let expected = goclaw_ports::agents::AgentShare { role: "viewer".into(), granted_by: "lan".into(), updated_at: at(9), ..mai };
        assert_eq!(db.stores.agents.shares(tenant, fox.id).await.unwrap(), [expected, lan]);
    }

    async fn users_are_listed_latest_first_with_their_files_counted(db) {
        let tenant = db.tenant("a").await;
        let (fox, wolf) = (db.agent(tenant, "fox").await, db.agent(tenant, "wolf").await);
        let agents = &db.stores.agents;
        assert!(agents.instances(tenant, fox.id).await.unwrap().is_empty());
        agents.touch_profile(tenant, fox.id, "mai", "/w", &[file("USER.md", "x"), file("SOUL.md", "x")], at(1)).await.unwrap();
        agents.touch_profile(tenant, fox.id, "group:telegram:-100", "/w", &[], at(5)).await.unwrap();
        agents.touch_profile(tenant, fox.id, "mai", "/w", &[], at(3)).await.unwrap();
        agents.touch_profile(tenant, wolf.id, "mai", "/w", &[file("USER.md", "x")], at(9)).await.unwrap();
        let listed = agents.instances(tenant, fox.id).await.unwrap();
        let seen: Vec<_> = listed.iter().map(|user| (user.user_id.as_str(), user.first_seen_at, user.last_seen_at, user.file_count)).collect();
        assert_eq!(seen, [("group:telegram:-100", at(5), at(5), 0), ("mai", at(1), at(3), 2)]);
        assert!(listed.iter().all(|user| user.metadata.is_empty()));
    }

    async fn a_file_that_is_put_makes_a_profile_that_gets_its_workspace_later(db) {
        let tenant = db.tenant("a").await;
        let fox = db.agent(tenant, "fox").await;
        let agents = &db.stores.agents;
        for content in ["old", "new"] {
            agents.put_instance_file(tenant, fox.id, "mai", &file("USER.md", content), at(1)).await.unwrap();
        }
        assert_eq!(agents.user_files(tenant, fox.id, "mai").await.unwrap(), [file("USER.md", "new")]);
        assert_eq!(agents.instances(tenant, fox.id).await.unwrap()[0].file_count, 1);
        let profile = agents.touch_profile(tenant, fox.id, "mai", "/w", &[file("SOUL.md", "seed")], at(4)).await.unwrap();
        assert_eq!((profile.workspace.as_str(), profile.first_seen_at, profile.last_seen_at), ("/w", at(1), at(4)));
        assert_eq!(agents.user_files(tenant, fox.id, "mai").await.unwrap(), [file("USER.md", "new")]);
        agents.put_instance_file(tenant, fox.id, "mai", &file("USER.md", "newer"), at(7)).await.unwrap();
        let user = agents.instances(tenant, fox.id).await.unwrap().remove(0);
        assert_eq!((user.first_seen_at, user.last_seen_at), (at(1), at(4)), "the user was not there");
        assert_eq!(agents.touch_profile(tenant, fox.id, "mai", "/x", &[], at(8)).await.unwrap().workspace, "/w");
    }

    async fn metadata_is_merged_key_by_key(db) {
        let tenant = db.tenant("a").await;
        let fox = db.agent(tenant, "fox").await;
        let agents = &db.stores.agents;
        assert!(!agents.merge_metadata(tenant, fox.id, "mai", &object(json!({"a": "1"}))).await.unwrap(), "nobody is there yet");
        agents.touch_profile(tenant, fox.id, "mai", "/w", &[], at(1)).await.unwrap();
        agents.touch_profile(tenant, fox.id, "lan", "/w", &[], at(0)).await.unwrap();
        for more in [json!({"a": "1", "b": "Cáo 🦊"}), json!({"a": "2", "": "odd"})] {
            assert!(agents.merge_metadata(tenant, fox.id, "mai", &object(more)).await.unwrap());
        }
        let users = agents.instances(tenant, fox.id).await.unwrap();
        assert_eq!(users[0].metadata, object(json!({"a": "2", "b": "Cáo 🦊", "": "odd"})));
        assert!(users[1].metadata.is_empty());
    }

    async fn one_file_of_all_users_is_rewritten(db) {
        let tenant = db.tenant("a").await;
        let (fox, wolf) = (db.agent(tenant, "fox").await, db.agent(tenant, "wolf").await);
        let agents = &db.stores.agents;
        for (id, user, name) in [(fox.id, "mai", "IDENTITY.md"), (fox.id, "lan", "IDENTITY.md"), (fox.id, "mai", "SOUL.md"), (wolf.id, "mai", "IDENTITY.md")] {
            agents.put_user_file(tenant, id, user, &file(name, user), at(1)).await.unwrap();
        }
        let rewritten = agents.rewrite_user_files(tenant, fox.id, "IDENTITY.md", Arc::new(|old| format!("new {old}")), at(2)).await.unwrap();
        assert_eq!(rewritten, 2);
        assert_eq!(agents.user_files(tenant, fox.id, "mai").await.unwrap(), [file("IDENTITY.md", "new mai"), file("SOUL.md", "mai")]);
        assert_eq!(agents.user_files(tenant, fox.id, "lan").await.unwrap(), [file("IDENTITY.md", "new lan")]);
        assert_eq!(agents.user_files(tenant, wolf.id, "mai").await.unwrap(), [file("IDENTITY.md", "mai")]);
        assert_eq!(agents.rewrite_user_files(tenant, fox.id, "AGENTS.md", Arc::new(|_| "x".into()), at(3)).await.unwrap(), 0);
    }

    async fn a_status_changes_only_from_what_it_was_thought_to_be(db) {
        let tenant = db.tenant("a").await;
        let fox = db.agent(tenant, "fox").await;
        let agents = &db.stores.agents;
        let status = async || { let found = agents.find(tenant, "fox").await.unwrap().unwrap(); (found.status, found.updated_at) };
        assert!(!agents.switch_status(tenant, fox.id, &[AgentStatus::Summoning], AgentStatus::SummonFailed, at(5)).await.unwrap());
        assert!(!agents.switch_status(tenant, fox.id, &[], AgentStatus::SummonFailed, at(5)).await.unwrap());
        assert_eq!(status().await, (AgentStatus::Active, fox.updated_at));
        assert!(agents.switch_status(tenant, fox.id, &[AgentStatus::SummonFailed, AgentStatus::Active], AgentStatus::Summoning, at(6)).await.unwrap());
        assert_eq!(status().await, (AgentStatus::Summoning, at(6)));
    }

    async fn of_many_who_begin_at_once_one_does(db) {
        let tenant = db.tenant("a").await;
        let fox = db.agent(tenant, "fox").await;
        let begin = || db.stores.agents.switch_status(tenant, fox.id, &[AgentStatus::Active], AgentStatus::Summoning, at(5));
        let began = futures_util::future::join_all((0..8).map(|_| begin())).await;
        assert_eq!(began.into_iter().filter(|began| *began.as_ref().unwrap()).count(), 1);
    }

    async fn stale_summonings_fail(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        for (tenant, key, status, changed) in [
            (a, "stale", AgentStatus::Summoning, 1), (b, "stale", AgentStatus::Summoning, 2), (a, "fresh", AgentStatus::Summoning, 10), (a, "active", AgentStatus::Active, 1),
        ] {
            db.stores.agents.insert(tenant, &Agent { status, updated_at: at(changed), ..agent(tenant, key) }, &[]).await.unwrap();
        }
        let status = async |tenant, key| db.stores.agents.find(tenant, key).await.unwrap().unwrap().status;
        assert!(db.stores.agents.all_tenants_fail_summoning(at(10), at(20)).await.unwrap() >= 2);
        for tenant in [a, b] {
            assert_eq!(status(tenant, "stale").await, AgentStatus::SummonFailed);
        }
        assert_eq!((status(a, "fresh").await, status(a, "active").await), (AgentStatus::Summoning, AgentStatus::Active));
    }

    async fn of_many_insertions_at_the_limit_no_more_get_through(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        db.agent(b, "other").await;
        let new: Vec<Agent> = (0..6).map(|n| agent(a, &format!("fox-{n}"))).collect();
        let inserted = futures_util::future::join_all(new.iter().map(|agent| db.stores.agents.insert_within(a, agent, &[], 2))).await;
        assert_eq!(inserted.iter().filter(|inserted| inserted.is_ok()).count(), 2);
        for refused in inserted.into_iter().filter(Result::is_err) {
            assert_fails!(refused, Precondition);
        }
        assert_eq!(db.stores.agents.count(a).await.unwrap(), 2);
        db.stores.agents.insert_within(a, &agent(a, "one-more"), &[], 3).await.unwrap();
        db.stores.agents.insert_within(a, &agent(a, "and-more"), &[], 0).await.unwrap();
    }

    async fn another_tenants_users_shares_and_status_are_out_of_reach(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        let fox = db.agent(a, "fox").await;
        let agents = &db.stores.agents;
        agents.put_share(a, &share(fox.id, "mai", "user", "lan", at(1))).await.unwrap();
        agents.touch_profile(a, fox.id, "mai", "/w", &[file("USER.md", "a")], at(1)).await.unwrap();

        assert!(agents.shares(b, fox.id).await.unwrap().is_empty());
        assert!(agents.instances(b, fox.id).await.unwrap().is_empty());
        assert_fails!(agents.put_instance_file(b, fox.id, "mai", &file("USER.md", "b"), at(2)).await, NotFound);
        assert!(!agents.merge_metadata(b, fox.id, "mai", &object(json!({"b": "b"}))).await.unwrap());
        assert_eq!(agents.rewrite_user_files(b, fox.id, "USER.md", Arc::new(|_| "b".into()), at(2)).await.unwrap(), 0);
        assert!(!agents.switch_status(b, fox.id, &[AgentStatus::Active], AgentStatus::Inactive, at(2)).await.unwrap());

        assert_eq!(agents.user_files(a, fox.id, "mai").await.unwrap(), [file("USER.md", "a")]);
        assert!(agents.instances(a, fox.id).await.unwrap()[0].metadata.is_empty());
        assert_eq!(agents.find(a, "fox").await.unwrap(), Some(fox));
        assert_fails!(agents.put_instance_file(a, AgentId(Uuid::now_v7()), "mai", &file("USER.md", "x"), at(2)).await, NotFound);
    }
}
