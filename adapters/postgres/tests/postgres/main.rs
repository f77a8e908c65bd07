//! What is PostgreSQL's own about the adapter: migrations, the wall between tenants, connections, concurrency.
//! They need a server: `GOCLAW_TEST_POSTGRES_DSN` names it, with a user who may create databases and roles.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot be set up has failed")]

mod connections;
mod limiter;
mod measures;
mod proxy;
mod relay;
mod schema;
mod statements;
mod support;
mod walls;
