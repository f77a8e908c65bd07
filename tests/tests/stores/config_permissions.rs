use chrono::{DateTime, Utc};
use goclaw_ports::{
    AgentId, JsonObject, TenantId,
    config_permissions::{ConfigPermission, Permission},
};
use goclaw_tests::{
    TestDatabase,
    fixtures::{at, odd_json},
};
use uuid::Uuid;

/// A rule that lets `user` change everything everywhere.
fn rule(agent: AgentId, user: &str) -> ConfigPermission {
    ConfigPermission {
        id: Uuid::now_v7(),
        agent_id: agent,
        scope: "*".to_owned(),
        config_type: "*".to_owned(),
        user_id: user.to_owned(),
        permission: Permission::Allow,
        granted_by: String::new(),
        metadata: JsonObject::new(),
        created_at: at(0),
        updated_at: at(0),
    }
}

fn made_at(time: DateTime<Utc>, rule: ConfigPermission) -> ConfigPermission {
    ConfigPermission { created_at: time, updated_at: time, ..rule }
}

async fn rules(db: &TestDatabase, tenant: TenantId, agent: AgentId) -> Vec<ConfigPermission> {
    db.stores.config_permissions.list(tenant, agent).await.unwrap()
}

on_both_databases! {
    async fn a_rule_comes_back_as_it_was_stored(db) {
        let a = db.tenant("a").await;
        let fox = db.agent(a, "fox").await.id;
        assert!(rules(&db, a, fox).await.is_empty());
        let full = ConfigPermission {
            scope: "group:telegram:-100123".into(),
            config_type: "file_writer".into(),
            permission: Permission::Deny,
            granted_by: "owner@example.com".into(),
            metadata: odd_json(),
            updated_at: at(3),
            ..rule(fox, "người dùng 🦀")
        };
        db.stores.config_permissions.put(a, &full).await.unwrap();
        assert_eq!(rules(&db, a, fox).await, [full]);
    }

    async fn rules_are_listed_oldest_first_and_by_agent(db) {
        let a = db.tenant("a").await;
        let (fox, owl) = (db.agent(a, "fox").await.id, db.agent(a, "owl").await.id);
        for (agent, user, made) in [(fox, "second", 20), (owl, "of owl", 5), (fox, "third", 30), (fox, "first", 10)] {
            db.stores.config_permissions.put(a, &made_at(at(made), rule(agent, user))).await.unwrap();
        }
        let users: Vec<_> = rules(&db, a, fox).await.into_iter().map(|rule| rule.user_id).collect();
        assert_eq!(users, ["first", "second", "third"]);
        assert_eq!(rules(&db, a, owl).await.len(), 1);
    }

    async fn a_rule_that_is_there_keeps_its_id_and_age_and_takes_the_rest(db) {
        let a = db.tenant("a").await;
        let fox = db.agent(a, "fox").await.id;
        let first = ConfigPermission { granted_by: "mai".into(), metadata: odd_json(), ..rule(fox, "lan") };
        db.stores.config_permissions.put(a, &first).await.unwrap();
        let second = ConfigPermission { permission: Permission::Deny, granted_by: "huy".into(), ..made_at(at(9), rule(fox, "lan")) };
        db.stores.config_permissions.put(a, &second).await.unwrap();
        assert_eq!(rules(&db, a, fox).await, [ConfigPermission { id: first.id, created_at: first.created_at, ..second }]);
    }

    async fn scope_kind_and_user_tell_rules_apart_exactly(db) {
        let a = db.tenant("a").await;
        let fox = db.agent(a, "fox").await.id;
        let keys = [
            ("*", "*", "*"),
            ("*", "*", "lan"),
            ("*", "*", "Lan"),
            ("*", "cron", "lan"),
            ("agent", "cron", "lan"),
            ("group:*", "cron", "lan"),
            ("group:telegram:*", "cron", "lan"),
            ("group:telegram:1", "cron", "lan"),
        ];
        for ((scope, config_type, user), made) in keys.into_iter().zip(0..) {
            let stored = ConfigPermission { scope: scope.into(), config_type: config_type.into(), ..made_at(at(made), rule(fox, user)) };
            db.stores.config_permissions.put(a, &stored).await.unwrap();
        }
        let stored = rules(&db, a, fox).await;
        assert!(stored.iter().map(|rule| (rule.scope.as_str(), rule.config_type.as_str(), rule.user_id.as_str())).eq(keys));
        for (scope, config_type, user) in [("group:telegram:*", "*", "*"), ("*", "%", "lan"), ("*", "cron", "*"), ("group", "cron", "lan"), ("", "", "")] {
            assert!(!db.stores.config_permissions.delete(a, fox, scope, config_type, user).await.unwrap(), "{scope} {config_type} {user}");
        }
        assert_eq!(rules(&db, a, fox).await, stored, "a wildcard in a rule's name is a letter like others");
        assert!(db.stores.config_permissions.delete(a, fox, "*", "*", "*").await.unwrap());
        assert_eq!(rules(&db, a, fox).await, stored[1..]);
    }

    async fn a_rule_is_removed_once(db) {
        let a = db.tenant("a").await;
        let (fox, owl) = (db.agent(a, "fox").await.id, db.agent(a, "owl").await.id);
        db.stores.config_permissions.put(a, &rule(fox, "lan")).await.unwrap();
        db.stores.config_permissions.put(a, &rule(owl, "lan")).await.unwrap();
        assert!(db.stores.config_permissions.delete(a, fox, "*", "*", "lan").await.unwrap());
        assert!(!db.stores.config_permissions.delete(a, fox, "*", "*", "lan").await.unwrap());
        assert!(rules(&db, a, fox).await.is_empty());
        assert_eq!(rules(&db, a, owl).await.len(), 1);
    }

    async fn a_rule_needs_an_agent_of_the_tenant(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        let of_b = db.agent(b, "fox").await.id;
        for agent in [AgentId(Uuid::now_v7()), of_b] {
            assert_fails!(db.stores.config_permissions.put(a, &rule(agent, "lan")).await, NotFound);
        }
        assert!(rules(&db, a, of_b).await.is_empty());
        assert!(db.stores.config_permissions.list(b, of_b).await.unwrap().is_empty());
    }

    async fn rules_go_with_their_agent(db) {
        let a = db.tenant("a").await;
        let (fox, owl) = (db.agent(a, "fox").await.id, db.agent(a, "owl").await.id);
        db.stores.config_permissions.put(a, &rule(fox, "lan")).await.unwrap();
        db.stores.config_permissions.put(a, &rule(owl, "lan")).await.unwrap();
        db.stores.agents.delete(a, fox).await.unwrap();
        assert!(rules(&db, a, fox).await.is_empty());
        assert_eq!(rules(&db, a, owl).await.len(), 1);
    }

    async fn rules_of_one_tenant_are_out_of_reach_of_another(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        let (of_a, of_b) = (db.agent(a, "fox").await.id, db.agent(b, "fox").await.id);
        let stored = rule(of_a, "lan");
        db.stores.config_permissions.put(a, &stored).await.unwrap();
        assert!(db.stores.config_permissions.list(b, of_a).await.unwrap().is_empty());
        assert!(!db.stores.config_permissions.delete(b, of_a, "*", "*", "lan").await.unwrap());
        assert_fails!(db.stores.config_permissions.put(b, &ConfigPermission { permission: Permission::Deny, ..rule(of_a, "lan") }).await, NotFound);
        db.stores.config_permissions.put(b, &ConfigPermission { permission: Permission::Deny, ..rule(of_b, "lan") }).await.unwrap();
        assert!(db.stores.config_permissions.delete(b, of_b, "*", "*", "lan").await.unwrap());
        assert_eq!(rules(&db, a, of_a).await, [stored]);
    }
}
