//! The schema's versions.

use crate::support::{Database, agent, at, client, server, session};
use futures_util::future;
use goclaw_ports::{ErrorKind, TenantId, sessions::SessionDelta};
use goclaw_postgres::{PostgresOptions, migrate, schema_version};
use uuid::Uuid;

#[tokio::test]
async fn each_migration_runs_once() {
    let database = Database::new().await;
    assert_eq!(schema_version(&database.dsn()).await.unwrap(), 0);
    assert_eq!(migrate(&database.dsn()).await.unwrap().first().unwrap(), "0001_foundation");
    assert_eq!(migrate(&database.dsn()).await.unwrap(), Vec::<String>::new());
    assert!(schema_version(&database.dsn()).await.unwrap() >= 1);
    let stores = database.open(false).await.unwrap();
    assert_eq!(stores.database.schema_version().await.unwrap(), schema_version(&database.dsn()).await.unwrap());
    let master = stores.tenants.find(TenantId::MASTER).await.unwrap().unwrap();
    assert_eq!((master.slug.as_str(), master.name.as_str()), ("master", "Master"));
}

#[tokio::test]
async fn members_of_before_get_ids_of_their_own() {
    let database = Database::new().await;
    let client = database.client().await;
    let known = "create table __diesel_schema_migrations (version varchar(50) primary key, run_on timestamp not null default current_timestamp);
        insert into __diesel_schema_migrations (version) values ('0001');";
    client.batch_execute(known).await.unwrap();
    client.batch_execute(include_str!("../../../../migrations-postgres/0001_foundation/up.sql")).await.unwrap();
    let users = format!("insert into tenant_users (tenant_id, user_id, role) values ('{0}', 'uma', 'owner'), ('{0}', 'max', 'viewer')", TenantId::MASTER);
    client.batch_execute(&users).await.unwrap();

    assert_eq!(migrate(&database.dsn()).await.unwrap().first().unwrap(), "0002_platform");
    let stores = database.open(false).await.unwrap();
    let members = stores.tenants.members(TenantId::MASTER).await.unwrap();
    let said: Vec<_> = members.iter().map(|member| (member.user_id.as_str(), member.role.as_str(), member.display_name.as_deref())).collect();
    assert_eq!(said, [("max", "viewer", None), ("uma", "owner", None)]);
    assert!(members.iter().all(|member| member.metadata.is_empty() && !member.id.is_nil()) && members[0].id != members[1].id);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_migrators_at_once_one_does_the_work() {
    let databases = future::join_all((0..3).map(|_| Database::new())).await;
    let dsns: Vec<_> = databases.iter().flat_map(|database| (0..4).map(|_| database.dsn())).collect();
    let ran = future::try_join_all(dsns.iter().map(migrate)).await.unwrap();
    let working = ran.iter().filter(|names| !names.is_empty()).count();
    assert_eq!(working, databases.len());
}

#[tokio::test]
async fn an_older_schema_is_refused_with_the_way_out() {
    let database = Database::new().await;
    let error = database.open(false).await.err().unwrap();
    assert_eq!(error.kind, ErrorKind::Precondition);
    assert!(error.to_string().contains("goclaw migrate up") && error.to_string().contains("GOCLAW_AUTO_UPGRADE"));
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let (database, _stores) = Database::opened().await;
    database.client().await.batch_execute("insert into __diesel_schema_migrations (version) values ('9999')").await.unwrap();
    for outcome in [database.open(false).await.err(), database.open(true).await.err(), migrate(&database.dsn()).await.err()] {
        let error = outcome.unwrap();
        assert_eq!(error.kind, ErrorKind::Precondition);
        assert!(error.to_string().contains("9999"));
    }
}

async fn ordinary_user() -> String {
    let user = format!("u_{}", Uuid::new_v4().simple());
    client(&server()).await.batch_execute(&format!("create role {user} login password '{user}'")).await.unwrap();
    user
}

#[tokio::test]
async fn a_user_without_the_right_to_make_roles_is_told_which_right_it_needs() {
    let database = Database::new().await;
    let user = ordinary_user().await;
    let error = migrate(&database.dsn_of_owner(&user).await).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Precondition);
    assert!(error.to_string().contains("CREATEROLE"));
    drop(database);
    client(&server()).await.batch_execute(&format!("drop role {user}")).await.unwrap();
}

#[tokio::test]
async fn an_ordinary_user_with_the_roles_can_migrate_and_work() {
    let (_other, _stores) = Database::opened().await;
    let database = Database::new().await;
    let user = ordinary_user().await;
    client(&server()).await.batch_execute(&format!("grant goclaw_tenant, goclaw_engine to {user}")).await.unwrap();
    let dsn = database.dsn_of_owner(&user).await;
    let options = PostgresOptions { dsn, max_connections: 4, migrate: true, fallback_limiter: None };
    let stores = goclaw_postgres::open(options).await.unwrap().stores;
    let agent = agent(TenantId::MASTER, "a");
    stores.agents.insert(TenantId::MASTER, &agent, &[]).await.unwrap();
    stores.sessions.open(TenantId::MASTER, &session(&agent, "agent:a:ws:1"), at(0)).await.unwrap();
    stores.sessions.append(TenantId::MASTER, "agent:a:ws:1", &[], &SessionDelta::default(), at(1)).await.unwrap();
    assert!(stores.agents.delete(TenantId::MASTER, agent.id).await.unwrap());
    assert_eq!(stores.sessions.count(TenantId::MASTER).await.unwrap(), 0);
    stores.database.close().await;
    drop(database);
    client(&server()).await.batch_execute(&format!("drop role {user}")).await.unwrap();
}
