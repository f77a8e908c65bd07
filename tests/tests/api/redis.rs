//! Gateways that count requests in Redis.

use crate::{
    common::{create_agent, question},
    shell::Shell,
};
use goclaw_tests::{Edition, Server, Setup, eventually, redis::Redis, server::free_port};
use serde_json::json;

async fn with_redis(edition: Edition, dsn: &str) -> Setup {
    Setup::new(edition).await.env("GOCLAW_REDIS_DSN", dsn).config(json!({"gateway": {"rate_limit_rpm": 1}}))
}

async fn statuses(server: &Server, count: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..count {
        statuses.push(server.owner().post("/v1/chat/completions", &question("fox", "hi")).await.status);
    }
    statuses
}

/// What readiness says of Redis.
async fn standing(server: &Server) -> String {
    let ready = server.anonymous().get("/ready").await.expect(200);
    ready["services"]["redis"].as_str().unwrap_or_else(|| panic!("{ready}")).to_owned()
}

async fn until(server: &Server, wanted: &str) {
    eventually(wanted, async || standing(server).await == wanted).await;
}

/// How many buckets PostgreSQL holds.
async fn in_postgres(server: &Server) -> i64 {
    let (client, connection) = tokio_postgres::connect(&server.environment()["GOCLAW_POSTGRES_DSN"], tokio_postgres::NoTls).await.unwrap();
    let driving = tokio::spawn(connection);
    let count = client.query_one("select count(*) from rate_limits", &[]).await.unwrap().get(0);
    drop(client);
    driving.await.unwrap().unwrap();
    count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_of_two_gateways_are_counted_together() {
    for redis in [Some(Redis::fake().await), Redis::real().await].into_iter().flatten() {
        let one = with_redis(Edition::Standard, &redis.dsn()).await.start().await;
        let two = one.twin().await;
        create_agent(&one.owner(), "fox").await;
        let mut all = Vec::new();
        for turn in 0..7 {
            all.extend(statuses(if turn % 2 == 0 { &one } else { &two }, 1).await);
        }
        assert_eq!(all, [200, 200, 200, 200, 200, 429, 429]);
        let refused = two.owner().post("/v1/chat/completions", &question("fox", "hi")).await;
        let wait: u64 = refused.header("retry-after").parse().unwrap();
        assert!((1..=60).contains(&wait), "{wait}");
        assert_eq!(in_postgres(&one).await, 0, "the database was not asked");
        for server in [&one, &two] {
            assert_eq!(standing(server).await, "ok");
        }
        drop(two);
    }
}

on_both_editions! {
    async fn a_redis_that_is_not_there_changes_nothing(edition) {
        let server = with_redis(edition, &format!("redis://:hunter2@127.0.0.1:{}/", free_port())).await.start().await;
        create_agent(&server.owner(), "fox").await;
        assert_eq!(statuses(&server, 6).await, [200, 200, 200, 200, 200, 429]);
        assert_eq!(standing(&server).await, "error");
        let log = server.log();
        assert!(log.contains("Redis cannot be reached") && !log.contains("hunter2"), "{log}");
    }

    async fn a_redis_that_comes_and_goes_is_used_while_it_is_there(edition) {
        let port = free_port();
        let server = with_redis(edition, &format!("redis://127.0.0.1:{port}/")).await.start().await;
        create_agent(&server.owner(), "fox").await;
        assert_eq!(standing(&server).await, "error");
        for _ in 0..2 {
            let redis = Redis::fake_on(port, None).await;
            until(&server, "ok").await;
            let before = redis.counted();
            assert_eq!(statuses(&server, 6).await, [200, 200, 200, 200, 200, 429]);
            assert!(redis.counted() >= before + 6);
            drop(redis);
            until(&server, "error").await;
        }
        // Whoever counts meanwhile has counted nobody yet.
        assert_eq!(statuses(&server, 6).await, [200, 200, 200, 200, 200, 429]);
    }

    async fn a_redis_that_hangs_is_asked_once(edition) {
        let redis = Redis::fake().await;
        let server = with_redis(edition, &redis.dsn()).await.start().await;
        create_agent(&server.owner(), "fox").await;
        redis.hang();
        assert_eq!(statuses(&server, 6).await, [200, 200, 200, 200, 200, 429]);
        assert_eq!(standing(&server).await, "error");
        assert_eq!(server.log().matches("Redis does not answer").count(), 1);
    }

    async fn buckets_have_no_secrets_in_their_names(edition) {
        let redis = Redis::fake().await;
        let server = with_redis(edition, &redis.dsn()).await.start().await;
        create_agent(&server.owner(), "fox").await;
        let bearer = "a-token-that-nobody-may-see";
        server.anonymous().token(bearer).user("mai").get("/v1/agents").await.expect_error(401);
        statuses(&server, 1).await;
        let keys = redis.keys();
        assert!(keys.len() >= 2 && keys.iter().all(|key| key.starts_with("goclaw:limit:")), "{keys:?}");
        assert!(!keys.iter().any(|key| key.contains(bearer) || key.contains(goclaw_tests::server::GATEWAY_TOKEN)), "{keys:?}");
    }

    async fn what_is_no_address_stops_the_start(edition) {
        let (status, log) = with_redis(edition, "http://:hunter2@127.0.0.1/").await.start_and_fail().await;
        assert_eq!(status.code(), Some(1));
        assert!(log.contains("GOCLAW_REDIS_DSN") && log.contains("rediss://") && !log.contains("hunter2"), "{log}");
    }

    async fn the_doctor_looks_at_it(edition) {
        let redis = Redis::fake_on(0, Some("open-sesame")).await;
        let server = Server::start(edition).await;
        let mut shell = Shell::beside(&server);
        for (dsn, status) in [
            (format!("redis://:open-sesame@127.0.0.1:{}/", redis.port()), "ok"),
            (format!("redis://:hunter2@127.0.0.1:{}/", redis.port()), "warning"),
            (format!("redis://:hunter2@127.0.0.1:{}/", free_port()), "warning"),
            ("redis://:hunter2@[".to_owned(), "warning"),
        ] {
            shell.set("GOCLAW_REDIS_DSN", &dsn);
            let report = shell.run("doctor --json").await.expect(0).hides(&["hunter2", "open-sesame"]).json();
            let check = report["checks"].as_array().unwrap().iter().find(|check| check["name"] == "redis").unwrap();
            assert_eq!(check["status"], status, "{check}");
        }
    }
}
