//! What an agent may do without asking.

/// How far an agent is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It may do everything.
    ApproveAll,
    /// It may look.
    ApproveReads,
    /// It may talk.
    DenyAll,
}

/// What the names of tools that only look have in them.
const LOOKING: &[&str] = &["read", "glob", "grep", "search", "list", "view"];

impl Mode {
    /// The mode of this name; an unknown one approves all.
    pub fn parse(name: &str) -> Self {
        match name {
            "approve-reads" => Self::ApproveReads,
            "deny-all" => Self::DenyAll,
            _ => Self::ApproveAll,
        }
    }

    /// Whether it may read files.
    pub fn reads(self) -> bool {
        self != Self::DenyAll
    }

    /// Whether it may write files.
    pub fn writes(self) -> bool {
        self == Self::ApproveAll
    }

    /// Whether it may run commands.
    pub fn runs(self) -> bool {
        self == Self::ApproveAll
    }

    /// Whether it may end what it runs.
    pub fn kills(self) -> bool {
        self != Self::DenyAll
    }

    /// Whether it may use a tool of its own with this name.
    pub fn uses(self, tool: &str) -> bool {
        let tool = tool.to_ascii_lowercase();
        match self {
            Self::ApproveAll => true,
            Self::ApproveReads => LOOKING.iter().any(|sign| tool.contains(sign)),
            Self::DenyAll => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mode_allows_what_it_says() {
        let all = |name: &str| {
            let mode = Mode::parse(name);
            [mode.reads(), mode.writes(), mode.runs(), mode.kills(), mode.uses("Read file"), mode.uses("Grep"), mode.uses("Bash")]
        };
        assert_eq!(all("approve-all"), [true; 7]);
        assert_eq!(all("whatever"), [true; 7]);
        assert_eq!(all("approve-reads"), [true, false, false, true, true, true, false]);
        assert_eq!(all("deny-all"), [false; 7]);
    }
}
