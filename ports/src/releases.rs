//! Newer releases of the gateway.

/// A release that is newer than what runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Its version, without a leading `v`.
    pub version: String,
    /// Its page.
    pub url: String,
    /// What is new; may be "".
    pub notes: String,
    /// Whether it is newer than what runs.
    pub newer: bool,
}

/// Knows the newest release.
pub trait Releases: Send + Sync {
    /// The newest release; `None` if nobody has looked yet, or nobody should.
    fn latest(&self) -> Option<Release>;
}

/// Never looks.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoReleases;

impl Releases for NoReleases {
    fn latest(&self) -> Option<Release> {
        None
    }
}
