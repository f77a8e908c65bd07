//! WebSocket RPC, protocol version 3: requests answered by id, events numbered per connection.

mod agents;
mod api_keys;
mod chat;
mod config;
mod config_permissions;
mod connect;
mod connection;
pub(crate) mod frame;
mod heartbeats;
pub(crate) mod hub;
mod links;
mod logs;
mod methods;
mod pairing;
mod pending;
mod platform;
mod queue;
mod sessions;
mod socket;
mod tenants;
mod tts;
mod usage;

pub(crate) use socket::service;
