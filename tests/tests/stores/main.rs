//! One suite for the promises of every store, run against every database.

/// Runs each test once per database. The test gets an empty, migrated one.
macro_rules! on_both_databases {
    ($($(#[doc = $doc:literal])* async fn $name:ident($($argument:tt)+) $body:block)*) => {$(
        $(#[doc = $doc])*
        mod $name {
            #[allow(unused_imports, reason = "not every test uses all that its module imports")]
            use super::*;

            async fn test($($argument)+: goclaw_tests::TestDatabase) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                goclaw_tests::TestDatabase::with(goclaw_tests::Backend::Sqlite, test).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                goclaw_tests::TestDatabase::with(goclaw_tests::Backend::Postgres, test).await;
            }
        }
    )*};
}

/// Asserts that a result is an error of this kind.
macro_rules! assert_fails {
    ($result:expr, $kind:ident) => {
        match $result {
            Err(error) => assert_eq!(error.kind, goclaw_ports::ErrorKind::$kind, "{error}"),
            Ok(value) => panic!("expected {}, got {value:?}", stringify!($kind)),
        }
    };
}

mod activity;
mod agent_files;
mod agent_instances;
mod agents;
mod api_keys;
mod archives;
mod builtin_tools;
mod config_permissions;
mod database;
mod heartbeats;
mod inbound;
mod links;
mod locks;
mod media;
mod members;
mod pairing;
mod providers;
mod sealed;
mod secrets;
mod sessions;
mod subagents;
mod system_configs;
mod tenants;
mod traces;
mod usage;
