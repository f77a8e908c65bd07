//! Lanes: how many runs of one kind go on at once, whatever their conversations.

use crate::counters;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Runs that share a number of places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Users' messages from channels.
    Main,
    /// Sub-agents, and runs that tell of results.
    Subagent,
    /// Work for other agents.
    Team,
    /// Jobs and heartbeats.
    Cron,
}

impl Lane {
    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Subagent => "subagent",
            Self::Team => "team",
            Self::Cron => "cron",
        }
    }
}

/// How many runs of each lane go on at once, at least 1 each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the lanes")]
pub struct LaneSizes {
    pub main: usize,
    pub subagent: usize,
    pub team: usize,
    pub cron: usize,
}

impl Default for LaneSizes {
    fn default() -> Self {
        Self { main: 30, subagent: 50, team: 100, cron: 30 }
    }
}

/// The places of the lanes.
pub(super) struct Lanes {
    main: Arc<Semaphore>,
    subagent: Arc<Semaphore>,
    team: Arc<Semaphore>,
    cron: Arc<Semaphore>,
}

/// A place in a lane. Dropping it gives it back.
pub(super) struct LanePlace {
    lane: Lane,
    _permit: OwnedSemaphorePermit,
}

impl Drop for LanePlace {
    fn drop(&mut self) {
        counters::lane_left(self.lane.as_str());
    }
}

impl Lanes {
    pub fn new(sizes: LaneSizes) -> Self {
        let places = |size: usize| Arc::new(Semaphore::new(size.clamp(1, Semaphore::MAX_PERMITS)));
        Self { main: places(sizes.main), subagent: places(sizes.subagent), team: places(sizes.team), cron: places(sizes.cron) }
    }

    /// Waits for a place, first come, first served.
    pub async fn enter(&self, lane: Lane) -> Option<LanePlace> {
        let places = match lane {
            Lane::Main => &self.main,
            Lane::Subagent => &self.subagent,
            Lane::Team => &self.team,
            Lane::Cron => &self.cron,
        };
        // Nobody closes the semaphore.
        let permit = places.clone().acquire_owned().await.ok()?;
        counters::lane_entered(lane.as_str());
        Some(LanePlace { lane, _permit: permit })
    }
}
