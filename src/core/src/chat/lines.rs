//! Messages of one conversation are taken in the order in which they came.

use goclaw_ports::TenantId;
use std::hash::{BuildHasher, RandomState};
use tokio::sync::{Mutex, MutexGuard};

/// How many lines there are. Conversations may share one: nobody stands in it for longer than a few reads take.
const LINES: usize = 1_024;

/// Where messages stand in line until their run has them: what is looked up for each takes longer for one than for another.
pub(crate) struct Lines {
    lines: Box<[Mutex<()>]>,
    hasher: RandomState,
}

impl Default for Lines {
    fn default() -> Self {
        Self { lines: (0..LINES).map(|_| Mutex::default()).collect(), hasher: RandomState::new() }
    }
}

impl Lines {
    /// Waits for those of the same conversation that asked before. Whoever has the answer is first until it is dropped.
    pub async fn stand(&self, tenant: TenantId, session_key: &str) -> MutexGuard<'_, ()> {
        let line = self.hasher.hash_one((tenant, session_key)) % LINES as u64;
        self.lines[line as usize].lock().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{FutureExt, future::join_all};

    #[tokio::test]
    async fn those_of_a_conversation_come_one_by_one_in_their_order() {
        let lines = Lines::default();
        let first = lines.stand(TenantId::MASTER, "a").await;
        let order = std::sync::Mutex::new(vec![]);
        let waiting = (0..9).map(|n| {
            let (lines, order) = (&lines, &order);
            async move {
                let _first = lines.stand(TenantId::MASTER, "a").await;
                tokio::task::yield_now().await;
                order.lock().unwrap().push(n);
            }
        });
        let mut waiting = std::pin::pin!(join_all(waiting));
        assert!(waiting.as_mut().now_or_never().is_none() && order.lock().unwrap().is_empty());
        drop(first);
        waiting.await;
        assert_eq!(*order.lock().unwrap(), (0..9).collect::<Vec<_>>());
    }
}
