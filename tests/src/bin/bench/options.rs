//! What the command line asks for.

use goclaw_tests::Edition;
use std::{path::PathBuf, time::Duration};

/// How the command line is used.
pub const USAGE: &str = "usage: bench [OPTION]... [SECTION]...

Measures target/release/goclaw on the lite edition and, if GOCLAW_TEST_POSTGRES_DSN names a PostgreSQL server, on the
standard edition. GOCLAW_TEST_BINARY names another binary. Ends with 1 if something could not be measured; a missed
target is only marked.

  SECTION           one of: start requests create chat streams memory sockets crowd runs abort store lists usage
                    soak; without any, all of them
  --edition NAME    only this edition: lite or standard
  --soak MINUTES    how long the mixed load of the section soak lasts on each edition, by default 10
  --plots DIR       where the section soak leaves its plots, by default the directory bench beside the binaries
  --quick           much smaller loads, which show that everything works and nothing else
  --json            print JSON instead of a table";

/// A part of the benchmark that can be asked for by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// Starting, the binary's size, and memory when idle.
    Start,
    /// Small requests that read.
    Requests,
    /// Small requests that write.
    Create,
    /// Whole answers.
    Chat,
    /// Streamed answers.
    Streams,
    /// Memory after the loads before it.
    Memory,
    /// Idle WebSockets.
    Sockets,
    /// Very many streams.
    Crowd,
    /// Very many runs.
    Runs,
    /// Aborting runs.
    Abort,
    /// What the store does.
    Store,
    /// Long lists.
    Lists,
    /// Sums of usage.
    Usage,
    /// Memory over time.
    Soak,
}

impl Section {
    const ALL: [Self; 14] = [
        Self::Start,
        Self::Requests,
        Self::Create,
        Self::Chat,
        Self::Streams,
        Self::Memory,
        Self::Sockets,
        Self::Crowd,
        Self::Runs,
        Self::Abort,
        Self::Store,
        Self::Lists,
        Self::Usage,
        Self::Soak,
    ];

    /// As the command line has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Requests => "requests",
            Self::Create => "create",
            Self::Chat => "chat",
            Self::Streams => "streams",
            Self::Memory => "memory",
            Self::Sockets => "sockets",
            Self::Crowd => "crowd",
            Self::Runs => "runs",
            Self::Abort => "abort",
            Self::Store => "store",
            Self::Lists => "lists",
            Self::Usage => "usage",
            Self::Soak => "soak",
        }
    }
}

/// How much load there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// As BENCH.md describes it.
    Full,
    /// A fraction: enough to see that everything works.
    Quick,
}

impl Effort {
    /// How long a load lasts that lasts `full` in earnest.
    pub fn time(self, full: Duration) -> Duration {
        if self == Self::Full { full } else { full / 8 }
    }

    /// How many there are of what there are `full` in earnest.
    pub fn count(self, full: usize) -> usize {
        if self == Self::Full { full } else { (full / 40).max(1) }
    }
}

/// What the command line asks for.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whether the results are printed as JSON.
    pub json: bool,
    /// How much load there is.
    pub effort: Effort,
    /// How long the mixed load lasts, if it was said.
    pub soak: Option<Duration>,
    /// Where plots go.
    pub plots: Option<PathBuf>,
    edition: Option<Edition>,
    sections: Vec<Section>,
}

impl Options {
    /// Reads the command line; `None` if it asks for help.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(arguments: impl IntoIterator<Item = String>) -> Result<Option<Self>, String> {
        let mut options = Self { json: false, effort: Effort::Full, soak: None, plots: None, edition: None, sections: Vec::new() };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--help" | "-h" => return Ok(None),
                "--json" => options.json = true,
                "--quick" => options.effort = Effort::Quick,
                "--plots" => options.plots = Some(value()?.into()),
                "--soak" => {
                    let minutes: f64 = value()?.parse().map_err(|_| "--soak needs a number of minutes")?;
                    options.soak = Some(Duration::try_from_secs_f64(minutes * 60.0).map_err(|_| "--soak needs a number of minutes")?);
                }
                "--edition" => {
                    let name = value()?;
                    let edition = [Edition::Lite, Edition::Standard].into_iter().find(|edition| edition.name() == name);
                    options.edition = Some(edition.ok_or_else(|| format!("there is no edition {name}"))?);
                }
                name => {
                    let section = Section::ALL.into_iter().find(|section| section.name() == name);
                    options.sections.push(section.ok_or_else(|| format!("unknown argument {name}"))?);
                }
            }
        }
        Ok(Some(options))
    }

    /// Whether this section is to be measured.
    pub fn wants(&self, section: Section) -> bool {
        self.sections.is_empty() || self.sections.contains(&section)
    }

    /// Whether this edition is to be measured.
    pub fn covers(&self, edition: Edition) -> bool {
        self.edition.is_none_or(|only| only == edition)
    }
}
