//! What a process holds, counted from `/proc` and from `/metrics`.

use crate::Server;
use std::{fs, path::Path};

/// What a gateway holds at a moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Census {
    /// Open file descriptors, sockets included.
    pub descriptors: usize,
    /// Open sockets.
    pub sockets: usize,
    /// Child processes.
    pub children: usize,
    /// Threads.
    pub threads: usize,
    /// Runs that go on or wait.
    pub runs: f64,
    /// WebSocket clients.
    pub clients: f64,
    /// Memory in RAM, in bytes.
    pub resident: u64,
}

impl Census {
    /// Counts now.
    ///
    /// # Panics
    /// If the gateway does not answer.
    pub async fn of(server: &Server) -> Self {
        let metrics = server.anonymous().get("/metrics").await.text();
        let of = |name: &str| metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap_or_default();
        let pid = server.pid();
        let descriptors: Vec<_> = entries(&format!("/proc/{pid}/fd")).into_iter().filter_map(|entry| fs::read_link(entry).ok()).collect();
        Self {
            descriptors: descriptors.len(),
            sockets: descriptors.iter().filter(|target| target.to_string_lossy().starts_with("socket:")).count(),
            children: children(pid).len(),
            threads: entries(&format!("/proc/{pid}/task")).len(),
            runs: of("goclaw_runs_active "),
            clients: of("goclaw_ws_connections "),
            resident: resident(pid),
        }
    }

    /// What there is more of than in `before`, in words. A few descriptors and threads may come and go by themselves, and
    /// connections to the database and to the model stay open for the next use: `spare` of each.
    #[must_use]
    pub fn excess(&self, before: &Self, spare: usize) -> Vec<String> {
        let counts = [
            ("descriptors", before.descriptors, self.descriptors, spare),
            ("sockets", before.sockets, self.sockets, spare),
            ("children", before.children, self.children, 0),
            ("threads", before.threads, self.threads, spare),
        ];
        let mut more: Vec<_> = counts
            .into_iter()
            .filter(|(_, before, after, spare)| *after > before + spare)
            .map(|(what, before, after, _)| format!("{what}: {before} before, {after} after"))
            .collect();
        let gauges = [("runs", before.runs, self.runs), ("WebSocket clients", before.clients, self.clients)];
        more.extend(
            gauges.into_iter().filter(|(_, before, after)| after > before).map(|(what, before, after)| format!("{what}: {before} before, {after} after")),
        );
        more
    }
}

/// The processes that this one started and that have not been waited for.
#[must_use]
pub fn children(pid: u32) -> Vec<u32> {
    let all = entries("/proc").into_iter().filter_map(|entry| entry.file_name()?.to_str()?.parse::<u32>().ok());
    all.filter(|child| parent(*child) == Some(pid)).collect()
}

/// Whether a process is there and has not ended; one that nobody has waited for has.
#[must_use]
pub fn is_alive(pid: u32) -> bool {
    stat(pid, 0).is_some_and(|state| state != "Z")
}

/// The command line of a process; "" if it is gone.
#[must_use]
pub fn command(pid: u32) -> String {
    String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()).replace('\0', " ").trim_end().to_owned()
}

/// The processes one of whose arguments is exactly this.
#[must_use]
pub fn with_argument(argument: &str) -> Vec<u32> {
    let all = entries("/proc").into_iter().filter_map(|entry| entry.file_name()?.to_str()?.parse::<u32>().ok());
    let has = |pid: &u32| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.split(|byte| *byte == 0).any(|part| part == argument.as_bytes()));
    all.filter(has).collect()
}

/// The memory of a process that is in RAM, in bytes; 0 if it is gone.
#[must_use]
pub fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}

fn parent(pid: u32) -> Option<u32> {
    stat(pid, 1)?.parse().ok()
}

/// A field of what the kernel says of a process, counted from the one after its name: state, parent.
fn stat(pid: u32, field: usize) -> Option<String> {
    // The name, in parentheses, may hold anything.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(field).map(str::to_owned)
}

fn entries(directory: &str) -> Vec<std::path::PathBuf> {
    fs::read_dir(Path::new(directory)).map(|entries| entries.flatten().map(|entry| entry.path()).collect()).unwrap_or_default()
}
