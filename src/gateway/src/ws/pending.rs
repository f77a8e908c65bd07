//! How many sockets of one address are open without having said who they are.

use crate::metrics;
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

/// The most of one address.
const LIMIT: usize = 64;

/// Counts unauthenticated sockets by address.
#[derive(Debug, Default, Clone)]
pub(super) struct Pending(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One unauthenticated socket; counted until it is dropped.
#[derive(Debug)]
pub(super) struct Knock {
    pending: Pending,
    ip: Option<IpAddr>,
}

impl Pending {
    /// Counts one more; `None` if the address has too many. An unknown address is not counted.
    pub(super) fn knock(&self, ip: Option<IpAddr>) -> Option<Knock> {
        if let Some(ip) = ip {
            let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let count = counts.entry(ip).or_default();
            if *count >= LIMIT {
                return None;
            }
            *count += 1;
        }
        metrics::ws_unauthenticated(1.0);
        Some(Knock { pending: self.clone(), ip })
    }
}

impl Drop for Knock {
    fn drop(&mut self) {
        metrics::ws_unauthenticated(-1.0);
        let Some(ip) = self.ip else { return };
        let mut counts = self.pending.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&ip) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&ip);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_bounded_number_of_unauthenticated_sockets() {
        let pending = Pending::default();
        let ip = Some("203.0.113.9".parse().unwrap());
        let mut knocks: Vec<Knock> = (0..LIMIT).map(|_| pending.knock(ip).unwrap()).collect();
        assert!(pending.knock(ip).is_none());
        assert!(pending.knock(Some("203.0.113.10".parse().unwrap())).is_some(), "another address is not concerned");
        knocks.pop();
        assert!(pending.knock(ip).is_some());
        drop(knocks);
        assert!(pending.0.lock().unwrap().is_empty(), "nothing is kept for addresses without sockets");
    }
}
