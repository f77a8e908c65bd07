use goclaw_ports::sessions::SessionDelta;
use goclaw_tests::fixtures::{at, file, said};

on_both_databases! {
    async fn the_database_answers(db) {
        db.stores.database.ping().await.unwrap();
    }

    async fn the_migrations_have_a_number(db) {
        assert!(db.stores.database.schema_version().await.unwrap() > 0);
    }

    async fn closing_twice_is_harmless(db) {
        db.stores.database.close().await;
        db.stores.database.close().await;
    }

    async fn what_was_stored_is_there_after_a_restart(mut db) {
        let tenant = db.tenant("a").await;
        let agent = db.agent(tenant, "fox").await;
        db.stores.agents.put_file(tenant, agent.id, &file("SOUL.md", "calm"), at(1)).await.unwrap();
        db.session(tenant, agent.id, "agent:fox:ws:1").await;
        db.stores.sessions.append(tenant, "agent:fox:ws:1", &[said("hello")], &SessionDelta::default(), at(2)).await.unwrap();
        let version = db.stores.database.schema_version().await.unwrap();

        db.reopen().await;

        assert_eq!(db.stores.database.schema_version().await.unwrap(), version);
        assert_eq!(db.stores.agents.find(tenant, "fox").await.unwrap(), Some(agent.clone()));
        assert_eq!(db.stores.agents.files(tenant, agent.id).await.unwrap(), [file("SOUL.md", "calm")]);
        assert_eq!(db.stores.sessions.messages(tenant, "agent:fox:ws:1", None).await.unwrap(), [said("hello")]);
    }
}
