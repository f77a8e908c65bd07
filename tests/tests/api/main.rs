//! The gateway from outside: the real binary, a scripted model, and nothing else.

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
mod agents;
mod chat;
mod chat_stream;
mod cli;
mod common;
mod confinement;
mod durability;
mod loops;
mod openapi;
mod platform;
mod providers;
mod roles;
mod sessions;
mod shutdown;
mod tools;
mod upstream;
mod ws_chat;
mod ws_protocol;
