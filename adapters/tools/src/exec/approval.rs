//! The approval policy: which commands run without being asked for.

use globset::{GlobBuilder, GlobMatcher};

/// How far commands are trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Security {
    /// No command runs.
    Deny,
    /// Commands of the allow list run.
    Allowlist,
    /// Any command runs.
    #[default]
    Full,
}

/// When an approval is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ask {
    /// Never.
    #[default]
    Off,
    /// For commands that are neither in the allow list nor safe.
    OnMiss,
    /// For every command.
    Always,
}

/// The policy.
#[derive(Debug, Clone, Default)]
pub struct ExecApproval {
    /// How far commands are trusted.
    pub security: Security,
    /// When an approval is asked for.
    pub ask: Ask,
    /// Globs on the program's name or the whole command; `*` does not cross `/`. Entries that are no glob match nothing.
    pub allowlist: Vec<String>,
}

/// What the policy says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Allow,
    Ask,
    Deny,
}

/// Programs that cannot start another program or run code by an argument, so they pass `on-miss`.
const SAFE: &[&str] = &[
    "basename", "cat", "cut", "date", "df", "diff", "dirname", "du", "echo", "file", "free", "grep", "head", "hostname", "jq", "ls", "patch", "pwd",
    "realpath", "sort", "stat", "tail", "tee", "tr", "uname", "uniq", "uptime", "wc", "which", "whoami", "yq",
];

impl ExecApproval {
    /// Decides on a command line. Each command of a pipeline or list must pass by itself.
    pub fn decide(&self, command: &str) -> Decision {
        match (self.security, self.ask) {
            (Security::Deny, _) => Decision::Deny,
            (Security::Full, Ask::Off) => Decision::Allow,
            (Security::Full, Ask::Always) => Decision::Ask,
            (Security::Full, Ask::OnMiss) if self.passes(command, true) => Decision::Allow,
            (Security::Full, Ask::OnMiss) => Decision::Ask,
            (Security::Allowlist, ask) => match (self.passes(command, false), ask) {
                (true, Ask::Always) => Decision::Ask,
                (true, _) => Decision::Allow,
                (false, Ask::Off) => Decision::Deny,
                (false, _) => Decision::Ask,
            },
        }
    }

    fn passes(&self, command: &str, safe_pass: bool) -> bool {
        let globs: Vec<GlobMatcher> = self
            .allowlist
            .iter()
            .filter_map(|glob| GlobBuilder::new(glob).literal_separator(true).backslash_escape(true).build().ok())
            .map(|glob| glob.compile_matcher())
            .collect();
        let Some(commands) = split(command) else { return false };
        !commands.is_empty()
            && commands.iter().all(|command| {
                let program = program(command);
                (safe_pass && SAFE.contains(&program)) || globs.iter().any(|glob| glob.is_match(program) || glob.is_match(command))
            })
    }
}

/// The base name of the first word that is no assignment.
fn program(command: &str) -> &str {
    let word = command.split_whitespace().find(|word| !is_assignment(word)).unwrap_or_default();
    word.rsplit('/').next().unwrap_or_default()
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}

/// The commands of a pipeline or list, or `None` if the line holds what only a shell can take apart: a substitution,
/// a subshell, an unfinished quotation.
fn split(line: &str) -> Option<Vec<&str>> {
    let (mut commands, mut start, mut quote) = (Vec::new(), 0, None);
    let mut characters = line.char_indices().peekable();
    let mut before = ' ';
    while let Some((at, c)) = characters.next() {
        let next = characters.peek().map(|(_, next)| *next);
        match (quote, c) {
            (Some('\''), '\'') | (Some('"'), '"') => quote = None,
            (Some('\''), _) => {}
            (_, '\\') => {
                characters.next()?;
            }
            (_, '`') => return None,
            (_, '$') if next == Some('(') => return None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '(' | ')') => return None,
            // `2>&1` and `&>file` are redirections.
            (None, '&') if before == '>' || before == '<' || next == Some('>') => {}
            (None, '|') if before == '>' => {}
            (None, ';' | '|' | '&' | '\n') => {
                commands.push(line.get(start..at)?.trim());
                start = at + c.len_utf8();
            }
            _ => {}
        }
        before = c;
    }
    if quote.is_some() {
        return None;
    }
    commands.push(line.get(start..)?.trim());
    commands.retain(|command| !command.is_empty());
    Some(commands)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn approval(security: Security, ask: Ask, allowlist: &[&str]) -> ExecApproval {
        ExecApproval { security, ask, allowlist: allowlist.iter().map(|glob| (*glob).to_owned()).collect() }
    }

    #[test]
    fn the_table_of_decisions_holds() {
        use Decision::{Allow, Ask as Asked, Deny};
        for (security, ask, listed, unlisted) in [
            (Security::Deny, Ask::Off, Deny, Deny),
            (Security::Deny, Ask::Always, Deny, Deny),
            (Security::Allowlist, Ask::Off, Allow, Deny),
            (Security::Allowlist, Ask::OnMiss, Allow, Asked),
            (Security::Allowlist, Ask::Always, Asked, Asked),
            (Security::Full, Ask::Off, Allow, Allow),
            (Security::Full, Ask::Always, Asked, Asked),
            (Security::Full, Ask::OnMiss, Allow, Asked),
        ] {
            let approval = approval(security, ask, &["git"]);
            assert_eq!(approval.decide("git status"), listed, "{security:?} {ask:?}");
            assert_eq!(approval.decide("terraform plan"), unlisted, "{security:?} {ask:?}");
        }
        assert_eq!(approval(Security::Allowlist, Ask::Off, &["git"]).decide("ls"), Deny);
        assert_eq!(approval(Security::Full, Ask::OnMiss, &[]).decide("ls -l"), Allow);
    }

    #[test]
    fn every_command_of_a_line_must_pass() {
        let approval = approval(Security::Full, Ask::OnMiss, &["make"]);
        for command in ["ls", "LANG=C ls -l", "/bin/ls | sort 2>&1 | uniq -c > out", "ls; make all && echo 'a; b|c' &", "echo \"a;b\"", "echo \\;"] {
            assert_eq!(approval.decide(command), Decision::Allow, "{command}");
        }
        for command in [
            "ls; curl x",
            "ls | python3",
            "ls\ncurl x",
            "ls & curl x",
            "echo $(curl x)",
            "echo `x`",
            "echo \"$(x)\"",
            "(ls)",
            "ls <(x)",
            "echo 'a",
            "find . -exec x",
            "xargs rm",
            "git x",
            "",
            "A=1",
        ] {
            assert_eq!(approval.decide(command), Decision::Ask, "{command}");
        }
    }

    #[test]
    fn a_glob_matches_the_program_or_the_whole_command_but_not_across_slashes() {
        let approval = approval(Security::Allowlist, Ask::Off, &["terra*", "npm run *", "["]);
        assert_eq!(approval.decide("terraform apply"), Decision::Allow);
        assert_eq!(approval.decide("npm run build"), Decision::Allow);
        assert_eq!(approval.decide("npm run ../x"), Decision::Deny);
        assert_eq!(approval.decide("npm run build; npm publish"), Decision::Deny);
    }
}
