//! Reading the audit log.

use crate::caller::{Access, Caller};
use goclaw_ports::{
    Result,
    activity::{Activity, ActivityFilter, ActivityStore},
    roles::Role,
};
use schemars::JsonSchema;
use serde::Serialize;
use std::sync::Arc;

/// The most entries of one page.
const MAX_PAGE: i64 = 200;
/// The entries of a page, where nothing sensible is asked for.
const PAGE: i64 = 50;

/// The audit log, for those who read it.
pub struct ActivityLog {
    pub(crate) store: Arc<dyn ActivityStore>,
}

/// A page of the audit log.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ActivityPage {
    /// Newest first.
    pub logs: Vec<Activity>,
    /// How many entries there are in all.
    pub total: i64,
    /// How many were asked for.
    pub limit: i64,
    /// After how many.
    pub offset: i64,
}

impl ActivityLog {
    /// What was done in the tenant, as far as the caller may know: admins see all, others what they did themselves.
    /// A limit outside of 1 to 200 counts as 50, a negative offset as 0.
    ///
    /// # Errors
    /// `Forbidden` below viewer.
    pub async fn list(&self, caller: &Caller, wanted: ActivityFilter) -> Result<ActivityPage> {
        caller.require(Role::Viewer, Access::Read, "/v1/activity")?;
        let limit = if (1..=MAX_PAGE).contains(&wanted.limit) { wanted.limit } else { PAGE };
        let mut filter = ActivityFilter { limit, offset: wanted.offset.max(0), ..wanted };
        let offset = filter.offset;
        if !caller.is_admin() {
            if caller.user.is_empty() {
                return Ok(ActivityPage { logs: vec![], total: 0, limit, offset });
            }
            filter.actor_id = Some(caller.user.to_string());
        }
        let (logs, total) = self.store.list(caller.tenant, &filter).await?;
        Ok(ActivityPage { logs, total, limit, offset })
    }
}
