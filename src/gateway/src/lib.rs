//! The gateway's edge: REST, server-sent events, WebSocket RPC, and the OpenAPI document.
//!
//! A handler parses, calls one use case of `goclaw_core`, and renders. Nothing is decided here but the wire.
#![deny(missing_docs)]

pub mod api;
mod auth;
mod connections;
mod docs;
mod error;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod gateway;
mod http;
mod i18n;
mod metrics;
pub mod openapi;
mod server;
mod ws;

pub use connections::HttpTimes;
pub use metrics::start_counting;
pub use server::{Bound, ServeOptions, bind};
