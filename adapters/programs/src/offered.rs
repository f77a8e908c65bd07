//! Which of the gateway's tools a run offers, and so what the program's own tools may do.

use goclaw_ports::llm::ToolDefinition;

/// What a program may do in a run: what the agent's own tools could.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offered {
    /// Run commands.
    pub run: bool,
    /// Read files.
    pub read: bool,
    /// Write files.
    pub write: bool,
    /// Fetch pages.
    pub fetch: bool,
    /// Search the web.
    pub search: bool,
}

impl Offered {
    /// What these tools can do. A model may know them by names with something around them.
    pub fn of(tools: &[ToolDefinition]) -> Self {
        let has = |name: &str| tools.iter().any(|tool| tool.name.contains(name));
        Self { run: has("exec"), read: has("read_file"), write: has("write_file"), fetch: has("web_fetch"), search: has("web_search") }
    }
}
