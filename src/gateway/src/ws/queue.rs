//! What waits for a client.

use std::{
    collections::VecDeque,
    pin::pin,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Notify;

/// How many places are kept for what comes next, once nothing waits.
const SPARE: usize = 4;

/// A queue with one reader. While nothing waits it takes hardly any memory: there may be very many clients, and most are silent most
/// of the time.
pub(super) struct Queue<T> {
    waiting: Mutex<VecDeque<T>>,
    limit: usize,
    news: Notify,
    room: Notify,
}

impl<T> Queue<T> {
    /// An empty one, in which so many may wait.
    pub fn new(limit: usize) -> Self {
        Self { waiting: Mutex::default(), limit, news: Notify::new(), room: Notify::new() }
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting().len()
    }

    /// Puts one at the end; `false` if it does not fit.
    pub fn push(&self, item: T) -> bool {
        let mut waiting = self.waiting();
        if waiting.len() >= self.limit {
            return false;
        }
        waiting.push_back(item);
        drop(waiting);
        self.news.notify_one();
        true
    }

    /// The first, if there is one.
    pub fn try_next(&self) -> Option<T> {
        let mut waiting = self.waiting();
        let next = waiting.pop_front();
        if waiting.is_empty() {
            waiting.shrink_to(SPARE);
        }
        drop(waiting);
        self.room.notify_waiters();
        next
    }

    /// The first, as soon as there is one. Nothing is lost if the wait is given up.
    pub async fn next(&self) -> T {
        loop {
            if let Some(next) = self.try_next() {
                return next;
            }
            self.news.notified().await;
        }
    }

    /// Waits until fewer than so many wait.
    pub async fn fewer_than(&self, count: usize) {
        loop {
            let mut room = pin!(self.room.notified());
            // From now on no notice is missed.
            room.as_mut().enable();
            if self.len() < count {
                return;
            }
            room.await;
        }
    }
}
