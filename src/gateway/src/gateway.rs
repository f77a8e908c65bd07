//! What every handler can reach.

use crate::{connections::HttpTimes, ws::hub::Hub};
use goclaw_core::Core;
use metrics_exporter_prometheus::PrometheusHandle;
use std::sync::Arc;

/// What every handler can reach; one for all workers.
pub struct Gateway {
    /// The use cases.
    pub core: Arc<Core>,
    /// The open WebSockets.
    pub hub: Arc<Hub>,
    /// The counters.
    pub metrics: PrometheusHandle,
    /// Whether browsers of any origin may read answers: the desktop application's web view has one of its own.
    pub desktop_cors: bool,
    /// How long clients may take over their requests.
    pub times: HttpTimes,
}
