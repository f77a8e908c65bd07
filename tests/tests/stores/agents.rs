use goclaw_ports::{
    AgentId,
    agents::{Agent, AgentFilter, AgentPatch, AgentStatus, AgentType},
    sessions::SessionDelta,
    traces::Trace,
};
use goclaw_tests::{
    TestDatabase,
    fixtures::{agent, at, file, object, odd_json, said, share, trace},
};
use serde_json::json;
use uuid::Uuid;

fn keys(agents: Vec<Agent>) -> Vec<String> {
    agents.into_iter().map(|agent| agent.agent_key).collect()
}

fn full_agent(tenant: goclaw_ports::TenantId, key: &str) -> Agent {
    Agent {
        updated_at: at(3),
        display_name: "Cáo 🦀 \u{10FFFF}".into(),
        frontmatter: "Knows\nfoxes".into(),
        provider: "anthropic".into(),
        model: "claude-x".into(),
        context_window: 1_000_000,
        max_tool_iterations: 7,
        agent_type: AgentType::Predefined,
        status: AgentStatus::SummonFailed,
        budget_monthly_cents: Some(5_000_000_000),
        tools_config: object(json!({"profile": "coding", "byProvider": {"openai": {"deny": ["exec"]}}})),
        sandbox_config: Some(odd_json()),
        subagents_config: Some(object(json!({}))),
        memory_config: Some(object(json!({"enabled": false}))),
        compaction_config: Some(object(json!({"mode": "safeguard"}))),
        context_pruning: Some(object(json!({"ttl": 1.5}))),
        other_config: odd_json(),
        ..agent(tenant, key)
    }
}

async fn shared(db: &TestDatabase, tenant: goclaw_ports::TenantId, agent: &Agent, user: &str) {
    db.stores.agents.put_share(tenant, &share(agent.id, user, "user", "owner@example.com", at(1))).await.unwrap();
}

on_both_databases! {
    async fn an_agent_comes_back_as_it_was_stored(db) {
        let tenant = db.tenant("a").await;
        for agent in [full_agent(tenant, &"f".repeat(100)), agent(tenant, "bare")] {
            db.stores.agents.insert(tenant, &agent, &[]).await.unwrap();
            assert_eq!(db.stores.agents.find(tenant, &agent.agent_key).await.unwrap(), Some(agent.clone()));
            assert_eq!(db.stores.agents.find(tenant, &agent.id.to_string()).await.unwrap(), Some(agent));
        }
    }

    async fn every_status_and_type_is_kept(db) {
        let tenant = db.tenant("a").await;
        for status in [AgentStatus::Active, AgentStatus::Inactive, AgentStatus::Summoning, AgentStatus::SummonFailed] {
            for agent_type in [AgentType::Open, AgentType::Predefined] {
                let key = format!("{}-{}", status.as_str().replace('_', "-"), agent_type.as_str());
                db.stores.agents.insert(tenant, &Agent { status, agent_type, ..agent(tenant, &key) }, &[]).await.unwrap();
                let found = db.stores.agents.find(tenant, &key).await.unwrap().unwrap();
                assert_eq!((found.status, found.agent_type), (status, agent_type));
            }
        }
    }

    async fn an_id_wins_over_a_key_that_looks_like_it(db) {
        let tenant = db.tenant("a").await;
        let first = db.agent(tenant, "first").await;
        db.agent(tenant, &first.id.to_string()).await;
        assert_eq!(db.stores.agents.find(tenant, &first.id.to_string()).await.unwrap().unwrap().agent_key, "first");
    }

    async fn a_key_may_look_like_an_id(db) {
        let tenant = db.tenant("a").await;
        let key = Uuid::now_v7().to_string();
        let agent = db.agent(tenant, &key).await;
        assert_eq!(db.stores.agents.find(tenant, &key).await.unwrap(), Some(agent));
    }

    async fn an_unknown_agent_is_not_found(db) {
        let tenant = db.tenant("a").await;
        db.agent(tenant, "fox").await;
        for key in ["fo", "foxy", "FOX", "fox%", "f_x", "", &Uuid::now_v7().to_string()] {
            assert_eq!(db.stores.agents.find(tenant, key).await.unwrap(), None, "{key:?}");
        }
    }

    async fn the_default_agent_stands_in(db) {
        let tenant = db.tenant("a").await;
        assert_eq!(db.stores.agents.find_default(tenant).await.unwrap(), None);
        db.stores.agents.insert(tenant, &Agent { created_at: at(1), ..agent(tenant, "older") }, &[]).await.unwrap();
        db.stores.agents.insert(tenant, &Agent { created_at: at(2), is_default: true, ..agent(tenant, "default") }, &[]).await.unwrap();
        assert_eq!(db.stores.agents.find_default(tenant).await.unwrap().unwrap().agent_key, "default");
    }

    async fn without_a_default_agent_the_oldest_active_one_stands_in(db) {
        let tenant = db.tenant("a").await;
        for (key, made, status) in [("oldest", 1, AgentStatus::Inactive), ("newest", 9, AgentStatus::Active), ("middle", 5, AgentStatus::Active), ("raw", 2, AgentStatus::Summoning)] {
            db.stores.agents.insert(tenant, &Agent { created_at: at(made), status, ..agent(tenant, key) }, &[]).await.unwrap();
        }
        assert_eq!(db.stores.agents.find_default(tenant).await.unwrap().unwrap().agent_key, "middle");
    }

    async fn agents_are_listed_newest_first(db) {
        let tenant = db.tenant("a").await;
        for (key, made) in [("second", 20), ("third", 30), ("first", 10)] {
            db.stores.agents.insert(tenant, &Agent { created_at: at(made), ..agent(tenant, key) }, &[]).await.unwrap();
        }
        assert_eq!(keys(db.stores.agents.list(tenant, &AgentFilter::default()).await.unwrap()), ["third", "second", "first"]);
    }

    async fn a_user_sees_its_own_agents_shared_ones_and_the_default_one(db) {
        let tenant = db.tenant("a").await;
        let make = |key: &str, owner: &str, made, is_default| Agent { created_at: at(made), owner_id: owner.into(), is_default, ..agent(tenant, key) };
        let agents = [make("own", "mai", 4, false), make("shared", "lan", 3, false), make("default", "lan", 2, true), make("hidden", "lan", 1, false)];
        for agent in &agents {
            db.stores.agents.insert(tenant, agent, &[]).await.unwrap();
        }
        shared(&db, tenant, &agents[1], "mai").await;
        shared(&db, tenant, &agents[3], "MAI").await;
        shared(&db, tenant, &agents[0], "mai").await;
        let visible = async |user: &str| keys(db.stores.agents.list(tenant, &AgentFilter { visible_to: Some(user.into()), status: None }).await.unwrap());
        assert_eq!(visible("mai").await, ["own", "shared", "default"]);
        assert_eq!(visible("stranger").await, ["default"]);
        assert_eq!(visible("").await, ["default"]);
        assert_eq!(visible("lan").await, ["shared", "default", "hidden"]);
    }

    async fn a_list_can_hold_agents_of_one_status_only(db) {
        let tenant = db.tenant("a").await;
        for (key, status, owner) in [("on", AgentStatus::Active, "mai"), ("off", AgentStatus::Inactive, "mai"), ("other", AgentStatus::Active, "lan")] {
            db.stores.agents.insert(tenant, &Agent { status, owner_id: owner.into(), ..agent(tenant, key) }, &[]).await.unwrap();
        }
        let mai = |status| AgentFilter { visible_to: Some("mai".into()), status };
        assert_eq!(keys(db.stores.agents.list(tenant, &AgentFilter { visible_to: None, status: Some(AgentStatus::Inactive) }).await.unwrap()), ["off"]);
        assert_eq!(keys(db.stores.agents.list(tenant, &mai(Some(AgentStatus::Active))).await.unwrap()), ["on"]);
        assert!(db.stores.agents.list(tenant, &mai(Some(AgentStatus::Summoning))).await.unwrap().is_empty());
    }

    async fn agents_are_counted_by_tenant(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        db.agent(a, "one").await;
        db.agent(a, "two").await;
        assert_eq!((db.stores.agents.count(a).await.unwrap(), db.stores.agents.count(b).await.unwrap()), (2, 0));
    }

    async fn an_agent_is_stored_with_its_first_files(db) {
        let tenant = db.tenant("a").await;
        let fox = agent(tenant, "fox");
        db.stores.agents.insert(tenant, &fox, &[file("SOUL.md", "calm"), file("AGENTS.md", "")]).await.unwrap();
        assert_eq!(db.stores.agents.files(tenant, fox.id).await.unwrap(), [file("AGENTS.md", ""), file("SOUL.md", "calm")]);
    }

    async fn a_key_can_be_taken_once_in_a_tenant_and_the_loser_leaves_nothing(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        let first = Agent { is_default: true, ..agent(a, "fox") };
        db.stores.agents.insert(a, &first, &[file("SOUL.md", "first")]).await.unwrap();
        let second = Agent { is_default: true, ..agent(a, "fox") };
        assert_fails!(db.stores.agents.insert(a, &second, &[file("SOUL.md", "second")]).await, AlreadyExists);
        assert_eq!(db.stores.agents.list(a, &AgentFilter::default()).await.unwrap(), std::slice::from_ref(&first), "the first one is the default still");
        assert!(db.stores.agents.files(a, second.id).await.unwrap().is_empty());
        assert_eq!(db.stores.agents.files(a, first.id).await.unwrap(), [file("SOUL.md", "first")]);
        db.stores.agents.insert(b, &agent(b, "fox"), &[]).await.unwrap();
    }

    async fn a_new_default_agent_takes_the_flag_from_the_old_one(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        for (tenant, key) in [(a, "one"), (b, "other"), (a, "two")] {
            db.stores.agents.insert(tenant, &Agent { is_default: true, ..agent(tenant, key) }, &[]).await.unwrap();
        }
        assert!(!db.stores.agents.find(a, "one").await.unwrap().unwrap().is_default);
        assert!(db.stores.agents.find(a, "two").await.unwrap().unwrap().is_default);
        assert!(db.stores.agents.find(b, "other").await.unwrap().unwrap().is_default, "another tenant's default agent stays");
    }

    async fn a_change_of_nothing_changes_the_time_only(db) {
        let tenant = db.tenant("a").await;
        let before = full_agent(tenant, "fox");
        db.stores.agents.insert(tenant, &before, &[file("SOUL.md", "calm")]).await.unwrap();
        let after = db.stores.agents.update(tenant, before.id, &AgentPatch::default(), &[], at(5)).await.unwrap().unwrap();
        assert_eq!(after, Agent { updated_at: at(5), ..before.clone() });
        assert_eq!(db.stores.agents.find(tenant, "fox").await.unwrap(), Some(after));
        assert_eq!(db.stores.agents.files(tenant, before.id).await.unwrap(), [file("SOUL.md", "calm")]);
    }

    async fn every_column_can_be_changed(db) {
        let tenant = db.tenant("a").await;
        let before = agent(tenant, "fox");
        db.stores.agents.insert(tenant, &before, &[]).await.unwrap();
        let expected = Agent { id: before.id, updated_at: at(5), is_default: true, workspace: "/elsewhere".into(), ..full_agent(tenant, "wolf") };
        let wanted = expected.clone();
        let patch = AgentPatch {
            agent_key: Some(wanted.agent_key),
            display_name: Some(wanted.display_name),
            frontmatter: Some(wanted.frontmatter),
            provider: Some(wanted.provider),
            model: Some(wanted.model),
            context_window: Some(wanted.context_window),
            max_tool_iterations: Some(wanted.max_tool_iterations),
            workspace: Some(wanted.workspace),
            agent_type: Some(wanted.agent_type),
            is_default: Some(wanted.is_default),
            status: Some(wanted.status),
            budget_monthly_cents: Some(wanted.budget_monthly_cents),
            tools_config: Some(wanted.tools_config),
            sandbox_config: Some(wanted.sandbox_config),
            subagents_config: Some(wanted.subagents_config),
            memory_config: Some(wanted.memory_config),
            compaction_config: Some(wanted.compaction_config),
            context_pruning: Some(wanted.context_pruning),
            other_config: Some(wanted.other_config),
        };
        assert_eq!(db.stores.agents.update(tenant, before.id, &patch, &[], at(5)).await.unwrap(), Some(expected.clone()));
        assert_eq!(db.stores.agents.find(tenant, "wolf").await.unwrap(), Some(expected));
        assert_eq!(db.stores.agents.find(tenant, "fox").await.unwrap(), None);
    }

    async fn nullable_columns_can_be_cleared(db) {
        let tenant = db.tenant("a").await;
        let before = full_agent(tenant, "fox");
        db.stores.agents.insert(tenant, &before, &[]).await.unwrap();
        let patch = AgentPatch {
            budget_monthly_cents: Some(None),
            sandbox_config: Some(None),
            subagents_config: Some(None),
            memory_config: Some(None),
            compaction_config: Some(None),
            context_pruning: Some(None),
            ..AgentPatch::default()
        };
        let expected = Agent {
            budget_monthly_cents: None,
            sandbox_config: None,
            subagents_config: None,
            memory_config: None,
            compaction_config: None,
            context_pruning: None,
            updated_at: at(5),
            ..before
        };
        assert_eq!(db.stores.agents.update(tenant, expected.id, &patch, &[], at(5)).await.unwrap(), Some(expected.clone()));
        assert_eq!(db.stores.agents.find(tenant, "fox").await.unwrap(), Some(expected));
    }

    async fn the_default_flag_moves_within_the_tenant(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        for (tenant, key, is_default) in [(a, "one", true), (a, "two", false), (b, "other", true)] {
            db.stores.agents.insert(tenant, &Agent { is_default, ..agent(tenant, key) }, &[]).await.unwrap();
        }
        let two = db.stores.agents.find(a, "two").await.unwrap().unwrap();
        let patch = AgentPatch { is_default: Some(true), ..AgentPatch::default() };
        assert!(db.stores.agents.update(a, two.id, &patch, &[], at(5)).await.unwrap().unwrap().is_default);
        let defaults: Vec<_> = db.stores.agents.list(a, &AgentFilter::default()).await.unwrap().into_iter().filter(|agent| agent.is_default).collect();
        assert_eq!(keys(defaults), ["two"]);
        assert!(db.stores.agents.find(b, "other").await.unwrap().unwrap().is_default);
        let patch = AgentPatch { is_default: Some(false), ..AgentPatch::default() };
        assert!(!db.stores.agents.update(a, two.id, &patch, &[], at(6)).await.unwrap().unwrap().is_default);
    }

    async fn files_are_replaced_together_with_a_change(db) {
        let tenant = db.tenant("a").await;
        let fox = agent(tenant, "fox");
        db.stores.agents.insert(tenant, &fox, &[file("SOUL.md", "old"), file("TOOLS.md", "kept")]).await.unwrap();
        db.stores.agents.update(tenant, fox.id, &AgentPatch::default(), &[file("SOUL.md", "new"), file("IDENTITY.md", "fox")], at(5)).await.unwrap();
        assert_eq!(db.stores.agents.files(tenant, fox.id).await.unwrap(), [file("IDENTITY.md", "fox"), file("SOUL.md", "new"), file("TOOLS.md", "kept")]);
    }

    async fn an_agent_cannot_take_the_key_of_another_and_then_nothing_changes(db) {
        let tenant = db.tenant("a").await;
        let (fox, wolf) = (Agent { is_default: true, ..agent(tenant, "fox") }, agent(tenant, "wolf"));
        db.stores.agents.insert(tenant, &fox, &[]).await.unwrap();
        db.stores.agents.insert(tenant, &wolf, &[file("SOUL.md", "old")]).await.unwrap();
        let patch = AgentPatch { agent_key: Some("fox".into()), is_default: Some(true), model: Some("new".into()), ..AgentPatch::default() };
        assert_fails!(db.stores.agents.update(tenant, wolf.id, &patch, &[file("SOUL.md", "new")], at(5)).await, AlreadyExists);
        assert_eq!(db.stores.agents.find(tenant, "fox").await.unwrap(), Some(fox));
        assert_eq!(db.stores.agents.find(tenant, "wolf").await.unwrap(), Some(wolf.clone()));
        assert_eq!(db.stores.agents.files(tenant, wolf.id).await.unwrap(), [file("SOUL.md", "old")]);
        let own = AgentPatch { agent_key: Some("wolf".into()), ..AgentPatch::default() };
        assert!(db.stores.agents.update(tenant, wolf.id, &own, &[], at(6)).await.unwrap().is_some(), "its own key is no conflict");
    }

    async fn a_change_of_an_unknown_agent_answers_with_nothing(db) {
        let tenant = db.tenant("a").await;
        let unknown = AgentId(Uuid::now_v7());
        let patch = AgentPatch { is_default: Some(true), ..AgentPatch::default() };
        db.stores.agents.insert(tenant, &Agent { is_default: true, ..agent(tenant, "fox") }, &[]).await.unwrap();
        assert_eq!(db.stores.agents.update(tenant, unknown, &patch, &[file("SOUL.md", "x")], at(5)).await.unwrap(), None);
        assert!(db.stores.agents.find(tenant, "fox").await.unwrap().unwrap().is_default);
        assert!(db.stores.agents.files(tenant, unknown).await.unwrap().is_empty());
    }

    async fn deleting_an_agent_deletes_what_belongs_to_it_but_no_traces(db) {
        let tenant = db.tenant("a").await;
        let (fox, wolf) = (db.agent(tenant, "fox").await, db.agent(tenant, "wolf").await);
        let mut traces = Vec::new();
        for agent in [&fox, &wolf] {
            let key = format!("agent:{}:ws:1", agent.agent_key);
            db.stores.agents.put_file(tenant, agent.id, &file("SOUL.md", "x"), at(1)).await.unwrap();
            db.stores.agents.put_user_file(tenant, agent.id, "mai", &file("USER.md", "x"), at(1)).await.unwrap();
            db.stores.agents.touch_profile(tenant, agent.id, "mai", "/w", &[], at(1)).await.unwrap();
            shared(&db, tenant, agent, "mai").await;
            db.session(tenant, agent.id, &key).await;
            db.stores.sessions.append(tenant, &key, &[said("hello")], &SessionDelta::default(), at(1)).await.unwrap();
            let trace = Trace { agent_id: Some(agent.id), session_key: key, ..trace() };
            db.stores.traces.insert(tenant, &trace).await.unwrap();
            traces.push(trace.id);
        }
        assert!(db.stores.agents.delete(tenant, fox.id).await.unwrap());
        assert!(!db.stores.agents.delete(tenant, fox.id).await.unwrap());

        assert_eq!(db.stores.agents.find(tenant, "fox").await.unwrap(), None);
        assert!(db.stores.agents.files(tenant, fox.id).await.unwrap().is_empty());
        assert!(db.stores.agents.user_files(tenant, fox.id, "mai").await.unwrap().is_empty());
        assert_eq!(db.stores.agents.share_role(tenant, fox.id, "mai").await.unwrap(), None);
        assert_eq!(db.stores.sessions.find(tenant, "agent:fox:ws:1").await.unwrap(), None);
        assert!(db.stores.sessions.messages(tenant, "agent:fox:ws:1", None).await.unwrap().is_empty());
        for trace in traces {
            assert!(db.stores.traces.find(tenant, trace).await.unwrap().is_some());
        }

        assert_eq!(db.stores.agents.files(tenant, wolf.id).await.unwrap().len(), 1);
        assert_eq!(db.stores.agents.user_files(tenant, wolf.id, "mai").await.unwrap().len(), 1);
        assert!(db.stores.agents.share_role(tenant, wolf.id, "mai").await.unwrap().is_some());
        assert_eq!(db.stores.sessions.messages(tenant, "agent:wolf:ws:1", None).await.unwrap().len(), 1);
        db.stores.agents.insert(tenant, &agent(tenant, "fox"), &[]).await.unwrap();
    }

    async fn agents_of_one_tenant_are_out_of_reach_of_another(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        let fox = Agent { is_default: true, ..agent(a, "fox") };
        db.stores.agents.insert(a, &fox, &[file("SOUL.md", "a")]).await.unwrap();

        assert_eq!(db.stores.agents.find(b, "fox").await.unwrap(), None);
        assert_eq!(db.stores.agents.find(b, &fox.id.to_string()).await.unwrap(), None);
        assert_eq!(db.stores.agents.find_default(b).await.unwrap(), None);
        assert!(db.stores.agents.list(b, &AgentFilter::default()).await.unwrap().is_empty());
        let visible = AgentFilter { visible_to: Some(fox.owner_id.clone()), status: Some(AgentStatus::Active) };
        assert!(db.stores.agents.list(b, &visible).await.unwrap().is_empty());
        let patch = AgentPatch { model: Some("stolen".into()), ..AgentPatch::default() };
        assert_eq!(db.stores.agents.update(b, fox.id, &patch, &[file("SOUL.md", "b")], at(5)).await.unwrap(), None);
        assert!(!db.stores.agents.delete(b, fox.id).await.unwrap());
        // A row that claims another tenant, or another tenant's id, must not get to the other tenant.
        drop(db.stores.agents.insert(b, &Agent { is_default: true, ..agent(a, "smuggled") }, &[]).await);
        let same_id = Agent { id: fox.id, ..agent(b, "same-id") };
        assert!(db.stores.agents.insert(b, &same_id, &[file("SOUL.md", "b")]).await.is_err());
        assert!(db.stores.agents.insert_within(b, &same_id, &[file("SOUL.md", "b")], 9).await.is_err());

        assert_eq!(db.stores.agents.list(a, &AgentFilter::default()).await.unwrap(), std::slice::from_ref(&fox));
        assert_eq!(db.stores.agents.files(a, fox.id).await.unwrap(), [file("SOUL.md", "a")]);
    }

    async fn one_of_many_wins_a_key(db) {
        let tenant = db.tenant("a").await;
        let agents: Vec<_> = (0..32).map(|_| agent(tenant, "fox")).collect();
        let outcomes = futures_util::future::join_all(agents.iter().map(|agent| db.stores.agents.insert(tenant, agent, &[]))).await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
        for outcome in outcomes.into_iter().filter(Result::is_err) {
            assert_fails!(outcome, AlreadyExists);
        }
        assert_eq!(db.stores.agents.count(tenant).await.unwrap(), 1);
    }

    async fn of_many_new_default_agents_one_stays_the_default(db) {
        let tenant = db.tenant("a").await;
        let agents: Vec<_> = (0..16).map(|n| Agent { is_default: true, ..agent(tenant, &format!("fox-{n}")) }).collect();
        for outcome in futures_util::future::join_all(agents.iter().map(|agent| db.stores.agents.insert(tenant, agent, &[]))).await {
            outcome.unwrap();
        }
        let list = db.stores.agents.list(tenant, &AgentFilter::default()).await.unwrap();
        assert_eq!((list.len(), list.iter().filter(|agent| agent.is_default).count()), (16, 1));
    }

    async fn of_many_agents_made_the_default_one_stays_it(db) {
        let tenant = db.tenant("a").await;
        let mut agents = Vec::new();
        for n in 0..16 {
            agents.push(db.agent(tenant, &format!("fox-{n}")).await);
        }
        let patch = AgentPatch { is_default: Some(true), ..AgentPatch::default() };
        for outcome in futures_util::future::join_all(agents.iter().map(|agent| db.stores.agents.update(tenant, agent.id, &patch, &[], at(5)))).await {
            assert!(outcome.unwrap().is_some());
        }
        assert_eq!(db.stores.agents.list(tenant, &AgentFilter::default()).await.unwrap().iter().filter(|agent| agent.is_default).count(), 1);
    }
}
