//! What a process prints, as much of it as is kept.

use tokio::io::{AsyncRead, AsyncReadExt};

/// The first bytes of an output, and how many there were.
#[derive(Debug, Default)]
pub struct Captured {
    /// The first bytes.
    pub kept: Vec<u8>,
    /// How many bytes there were.
    pub total: u64,
}

impl Captured {
    /// Reads to the end and keeps the first `limit` bytes. Whatever was read stays, even if this is dropped midway.
    pub async fn fill(&mut self, mut from: impl AsyncRead + Unpin, limit: usize) {
        let mut chunk = vec![0; 16 << 10];
        while let Ok(read @ 1..) = from.read(&mut chunk).await {
            self.total += read as u64;
            let room = limit.saturating_sub(self.kept.len()).min(read);
            self.kept.extend_from_slice(&chunk[..room]);
        }
    }
}
