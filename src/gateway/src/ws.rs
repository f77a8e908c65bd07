//! WebSocket RPC, protocol version 3: requests answered by id, events numbered per connection.

mod agents;
mod chat;
mod connect;
mod connection;
mod frame;
pub(crate) mod hub;
mod methods;
mod pending;
mod platform;
mod sessions;
mod socket;

pub(crate) use socket::service;
