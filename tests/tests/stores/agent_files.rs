//! What belongs to an agent: shares, context files, users' profiles.

use goclaw_ports::AgentId;
use goclaw_tests::fixtures::{at, file, share};
use uuid::Uuid;

on_both_databases! {
    async fn a_share_has_the_role_it_was_given_last(db) {
        let tenant = db.tenant("a").await;
        let fox = db.agent(tenant, "fox").await;
        assert_eq!(db.stores.agents.share_role(tenant, fox.id, "mai").await.unwrap(), None);
        for role in ["admin", "operator", "viewer", "user"] {
            db.stores.agents.put_share(tenant, &share(fox.id, "mai", role, "lan", at(1))).await.unwrap();
            assert_eq!(db.stores.agents.share_role(tenant, fox.id, "mai").await.unwrap().as_deref(), Some(role));
        }
        assert_eq!(db.stores.agents.share_role(tenant, fox.id, "MAI").await.unwrap(), None);
    }

    async fn a_share_ends_once(db) {
        let tenant = db.tenant("a").await;
        let fox = db.agent(tenant, "fox").await;
        for user in ["mai", "lan"] {
            db.stores.agents.put_share(tenant, &share(fox.id, user, "user", "owner", at(1))).await.unwrap();
        }
        assert!(db.stores.agents.delete_share(tenant, fox.id, "mai").await.unwrap());
        assert!(!db.stores.agents.delete_share(tenant, fox.id, "mai").await.unwrap());
        assert_eq!(db.stores.agents.share_role(tenant, fox.id, "mai").await.unwrap(), None);
        assert_eq!(db.stores.agents.share_role(tenant, fox.id, "lan").await.unwrap().as_deref(), Some("user"));
    }

    async fn files_are_kept_by_name(db) {
        let tenant = db.tenant("a").await;
        let fox = db.agent(tenant, "fox").await;
        assert!(db.stores.agents.files(tenant, fox.id).await.unwrap().is_empty());
        let long = "n".repeat(255);
        for (name, content) in [("SOUL.md", "old"), ("AGENTS.md", "Xin chào 🦀 \u{10FFFF}\r\n\t"), (&long, ""), ("SOUL.md", "new")] {
            db.stores.agents.put_file(tenant, fox.id, &file(name, content), at(1)).await.unwrap();
        }
        let expected = [file("AGENTS.md", "Xin chào 🦀 \u{10FFFF}\r\n\t"), file("SOUL.md", "new"), file(&long, "")];
        assert_eq!(db.stores.agents.files(tenant, fox.id).await.unwrap(), expected);
    }

    async fn users_have_files_of_their_own(db) {
        let tenant = db.tenant("a").await;
        let fox = db.agent(tenant, "fox").await;
        db.stores.agents.put_file(tenant, fox.id, &file("USER.md", "agent"), at(1)).await.unwrap();
        for (user, name, content) in [("mai", "USER.md", "old"), ("mai", "SOUL.md", "calm"), ("lan", "USER.md", "lan"), ("mai", "USER.md", "mai")] {
            db.stores.agents.put_user_file(tenant, fox.id, user, &file(name, content), at(1)).await.unwrap();
        }
        assert_eq!(db.stores.agents.user_files(tenant, fox.id, "mai").await.unwrap(), [file("SOUL.md", "calm"), file("USER.md", "mai")]);
        assert_eq!(db.stores.agents.user_files(tenant, fox.id, "lan").await.unwrap(), [file("USER.md", "lan")]);
        assert!(db.stores.agents.user_files(tenant, fox.id, "").await.unwrap().is_empty());
        assert_eq!(db.stores.agents.files(tenant, fox.id).await.unwrap(), [file("USER.md", "agent")]);
    }

    async fn a_users_file_is_deleted_once(db) {
        let tenant = db.tenant("a").await;
        let fox = db.agent(tenant, "fox").await;
        for user in ["mai", "lan"] {
            db.stores.agents.put_user_file(tenant, fox.id, user, &file("BOOTSTRAP.md", "x"), at(1)).await.unwrap();
        }
        assert!(db.stores.agents.delete_user_file(tenant, fox.id, "mai", "BOOTSTRAP.md").await.unwrap());
        assert!(!db.stores.agents.delete_user_file(tenant, fox.id, "mai", "BOOTSTRAP.md").await.unwrap());
        assert!(db.stores.agents.user_files(tenant, fox.id, "mai").await.unwrap().is_empty());
        assert_eq!(db.stores.agents.user_files(tenant, fox.id, "lan").await.unwrap().len(), 1);
    }

    async fn files_and_shares_of_two_agents_are_apart(db) {
        let tenant = db.tenant("a").await;
        let (fox, wolf) = (db.agent(tenant, "fox").await, db.agent(tenant, "wolf").await);
        db.stores.agents.put_file(tenant, fox.id, &file("SOUL.md", "fox"), at(1)).await.unwrap();
        db.stores.agents.put_user_file(tenant, fox.id, "mai", &file("USER.md", "fox"), at(1)).await.unwrap();
        db.stores.agents.put_share(tenant, &share(fox.id, "mai", "user", "lan", at(1))).await.unwrap();
        assert!(db.stores.agents.files(tenant, wolf.id).await.unwrap().is_empty());
        assert!(db.stores.agents.user_files(tenant, wolf.id, "mai").await.unwrap().is_empty());
        assert_eq!(db.stores.agents.share_role(tenant, wolf.id, "mai").await.unwrap(), None);
        assert!(!db.stores.agents.delete_share(tenant, wolf.id, "mai").await.unwrap());
        assert!(!db.stores.agents.delete_user_file(tenant, wolf.id, "mai", "USER.md").await.unwrap());
    }

    async fn the_first_contact_makes_a_profile_that_keeps_its_workspace(db) {
        let tenant = db.tenant("a").await;
        let fox = db.agent(tenant, "fox").await;
        let first = db.stores.agents.touch_profile(tenant, fox.id, "mai", "/first", &[], at(1)).await.unwrap();
        assert_eq!((first.workspace.as_str(), first.first_seen_at, first.last_seen_at), ("/first", at(1), at(1)));
        let later = db.stores.agents.touch_profile(tenant, fox.id, "mai", "/second", &[], at(9)).await.unwrap();
        assert_eq!((later.workspace.as_str(), later.first_seen_at, later.last_seen_at), ("/first", at(1), at(9)));
        let other = db.stores.agents.touch_profile(tenant, fox.id, "lan", "/other", &[], at(5)).await.unwrap();
        assert_eq!((other.workspace.as_str(), other.first_seen_at, other.last_seen_at), ("/other", at(5), at(5)));
    }

    async fn seed_files_are_for_users_without_files(db) {
        let tenant = db.tenant("a").await;
        let fox = db.agent(tenant, "fox").await;
        let seed = [file("USER.md", "seed"), file("BOOTSTRAP.md", "seed")];
        db.stores.agents.touch_profile(tenant, fox.id, "new", "/w", &seed, at(1)).await.unwrap();
        assert_eq!(db.stores.agents.user_files(tenant, fox.id, "new").await.unwrap(), [file("BOOTSTRAP.md", "seed"), file("USER.md", "seed")]);

        db.stores.agents.delete_user_file(tenant, fox.id, "new", "BOOTSTRAP.md").await.unwrap();
        db.stores.agents.put_user_file(tenant, fox.id, "new", &file("USER.md", "mine"), at(2)).await.unwrap();
        db.stores.agents.touch_profile(tenant, fox.id, "new", "/w", &seed, at(3)).await.unwrap();
        assert_eq!(db.stores.agents.user_files(tenant, fox.id, "new").await.unwrap(), [file("USER.md", "mine")]);

        db.stores.agents.put_user_file(tenant, fox.id, "early", &file("SOUL.md", "mine"), at(2)).await.unwrap();
        db.stores.agents.touch_profile(tenant, fox.id, "early", "/w", &seed, at(3)).await.unwrap();
        assert_eq!(db.stores.agents.user_files(tenant, fox.id, "early").await.unwrap(), [file("SOUL.md", "mine")]);
    }

    async fn many_first_contacts_make_one_profile(db) {
        let tenant = db.tenant("a").await;
        let fox = db.agent(tenant, "fox").await;
        let workspaces: Vec<_> = (0..16).map(|n| format!("/w{n}")).collect();
        let seed = [file("USER.md", "seed")];
        let touches = workspaces.iter().map(|workspace| db.stores.agents.touch_profile(tenant, fox.id, "mai", workspace, &seed, at(1)));
        let profiles: Vec<_> = futures_util::future::join_all(touches).await.into_iter().map(Result::unwrap).collect();
        assert!(profiles.iter().all(|profile| profile.workspace == profiles[0].workspace), "{profiles:?}");
        assert_eq!(db.stores.agents.user_files(tenant, fox.id, "mai").await.unwrap(), seed);
    }

    async fn an_unknown_agent_has_no_files_shares_or_profiles(db) {
        let tenant = db.tenant("a").await;
        let unknown = AgentId(Uuid::now_v7());
        let agents = &db.stores.agents;
        assert_fails!(agents.put_share(tenant, &share(unknown, "mai", "user", "lan", at(1))).await, NotFound);
        assert_fails!(agents.put_file(tenant, unknown, &file("SOUL.md", "x"), at(1)).await, NotFound);
        assert_fails!(agents.put_user_file(tenant, unknown, "mai", &file("USER.md", "x"), at(1)).await, NotFound);
        assert_fails!(agents.touch_profile(tenant, unknown, "mai", "/w", &[file("USER.md", "x")], at(1)).await, NotFound);
        assert!(agents.files(tenant, unknown).await.unwrap().is_empty());
        assert!(agents.user_files(tenant, unknown, "mai").await.unwrap().is_empty());
        assert_eq!(agents.share_role(tenant, unknown, "mai").await.unwrap(), None);
    }

    async fn what_belongs_to_an_agent_is_out_of_reach_of_another_tenant(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        let fox = db.agent(a, "fox").await;
        let agents = &db.stores.agents;
        agents.put_share(a, &share(fox.id, "mai", "user", "lan", at(1))).await.unwrap();
        agents.put_file(a, fox.id, &file("SOUL.md", "a"), at(1)).await.unwrap();
        agents.put_user_file(a, fox.id, "mai", &file("USER.md", "a"), at(1)).await.unwrap();
        agents.touch_profile(a, fox.id, "mai", "/a", &[], at(1)).await.unwrap();

        assert_eq!(agents.share_role(b, fox.id, "mai").await.unwrap(), None);
        assert_fails!(agents.put_share(b, &share(fox.id, "mai", "admin", "thief", at(2))).await, NotFound);
        assert!(!agents.delete_share(b, fox.id, "mai").await.unwrap());
        assert!(agents.files(b, fox.id).await.unwrap().is_empty());
        assert_fails!(agents.put_file(b, fox.id, &file("SOUL.md", "b"), at(2)).await, NotFound);
        assert!(agents.user_files(b, fox.id, "mai").await.unwrap().is_empty());
        assert_fails!(agents.put_user_file(b, fox.id, "mai", &file("USER.md", "b"), at(2)).await, NotFound);
        assert!(!agents.delete_user_file(b, fox.id, "mai", "USER.md").await.unwrap());
        assert_fails!(agents.touch_profile(b, fox.id, "mai", "/b", &[file("USER.md", "b")], at(2)).await, NotFound);

        assert_eq!(agents.share_role(a, fox.id, "mai").await.unwrap().as_deref(), Some("user"));
        assert_eq!(agents.files(a, fox.id).await.unwrap(), [file("SOUL.md", "a")]);
        assert_eq!(agents.user_files(a, fox.id, "mai").await.unwrap(), [file("USER.md", "a")]);
        let profile = agents.touch_profile(a, fox.id, "mai", "/again", &[], at(3)).await.unwrap();
        assert_eq!((profile.workspace.as_str(), profile.first_seen_at), ("/a", at(1)));
    }
}
