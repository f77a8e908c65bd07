//! The gateway from outside: the real binary, a scripted model, and nothing else.
#![recursion_limit = "256"]

/// Runs each test on both editions.
macro_rules! on_both_editions {
    ($($(#[doc = $doc:literal])* async fn $name:ident($($argument:tt)+) $body:block)*) => {$(
        $(#[doc = $doc])*
        mod $name {
            #[allow(unused_imports, reason = "not every test uses all that its module imports")]
            use super::*;

            async fn test($($argument)+: goclaw_tests::Edition) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn lite() {
                test(goclaw_tests::Edition::Lite).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn standard() {
                test(goclaw_tests::Edition::Standard).await;
            }
        }
    )*};
}

/// Compares with the stored snapshot of this name, after what differs from run to run was taken out.
macro_rules! assert_snapshot {
    ($name:literal, $value:expr) => {
        insta::assert_json_snapshot!($name, crate::common::stable($value))
    };
}

mod access;
mod accounts;
mod activity;
mod agent_instances;
mod agent_shares;
mod agents;
mod agents_rpc;
mod api_keys;
mod archives;
mod audited;
mod behind;
mod budgets;
mod chat;
mod chat_inject;
mod chat_media;
mod chat_stored;
mod chat_stream;
mod chatgpt;
mod cli;
mod cli_backup;
mod cli_commands;
mod cli_domains;
mod cli_keys;
mod cli_restore;
mod common;
mod compaction;
mod config_permissions;
mod configuration;
mod confinement;
mod cors;
mod delegation;
mod durability;
mod embedding;
mod encrypted;
mod event_catalogue;
mod event_filter;
mod fallback;
mod files;
mod freshness;
mod heartbeats;
mod inbound;
mod isolation;
mod isolation_calls;
mod isolation_kept;
mod links;
mod logs;
mod loops;
mod media;
mod metrics;
mod oauth;
mod onboarding;
mod openapi;
mod pairing;
mod platform;
mod pools;
mod pricing;
mod programs;
mod providers;
mod proxies;
mod queues;
mod rate_limits;
mod reasoning;
mod redis;
mod replicas;
mod replicas_events;
mod replicas_leases;
mod replicas_turns;
mod responses;
mod revocation;
mod roles;
mod rpc_roles;
mod secrets;
mod session_tools;
mod sessions;
mod shell;
mod shutdown;
mod slow_requests;
mod subagents;
mod summoning;
mod system_configs;
mod tailscale;
mod telemetry;
mod tenants;
mod titles;
mod tools;
mod traces;
mod tts;
mod upstream;
mod usage;
mod wake;
mod ws_chat;
mod ws_protocol;
mod ws_silence;
