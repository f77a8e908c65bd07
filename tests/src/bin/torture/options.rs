//! The command line.

use goclaw_tests::Edition;

pub const USAGE: &str = "usage: torture [SECTION...] [--edition lite|standard] [--rounds N] [--seed N] [--json]

Attacks the gateway that was built beside this program (or that GOCLAW_TEST_BINARY names) on both editions and prints a table.
Ends with 1 if a promise was broken. The standard edition needs GOCLAW_TEST_POSTGRES_DSN.

  SECTION    kill, database, disk, vanish, clock, upstream; all of them if none is named
  --rounds   how often: kills (200), database attacks (20), clients that vanish (10000), model calls (400), jumps (3)
  --seed     where chance begins; a run that found something says which it had
  --json     print JSON instead of a table";

/// What is attacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// kill -9 under load.
    Kill,
    /// PostgreSQL and the way to it.
    Database,
    /// The disk.
    Disk,
    /// Clients.
    Vanish,
    /// The wall clock.
    Clock,
    /// The model.
    Upstream,
}

impl Section {
    const ALL: [Self; 6] = [Self::Kill, Self::Database, Self::Disk, Self::Vanish, Self::Clock, Self::Upstream];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Database => "database",
            Self::Disk => "disk",
            Self::Vanish => "vanish",
            Self::Clock => "clock",
            Self::Upstream => "upstream",
        }
    }

    /// What it does.
    pub fn title(self) -> &'static str {
        match self {
            Self::Kill => "kill -9 under load",
            Self::Database => "PostgreSQL killed, cut off, slowed",
            Self::Disk => "disk full and read-only",
            Self::Vanish => "clients that vanish mid-stream",
            Self::Clock => "wall clock jumps",
            Self::Upstream => "model that misbehaves",
        }
    }
}

/// What was asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// What to attack.
    pub sections: Vec<Section>,
    /// Which editions.
    pub editions: Vec<Edition>,
    /// How often; each section has a default of its own.
    pub rounds: Option<usize>,
    /// Where chance begins.
    pub seed: u64,
    /// Whether to print JSON.
    pub json: bool,
}

impl Options {
    /// How often to attack.
    pub fn rounds_or(&self, default: usize) -> usize {
        self.rounds.unwrap_or(default)
    }
}

/// Reads the arguments; `None` if help was asked for.
///
/// # Errors
/// What cannot be understood.
pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
    let mut options = Options { sections: Vec::new(), editions: vec![Edition::Lite, Edition::Standard], rounds: None, seed: 1, json: false };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--help" | "-h" => return Ok(None),
            "--json" => options.json = true,
            "--rounds" => options.rounds = Some(value()?.parse().ok().filter(|rounds| *rounds > 0).ok_or("--rounds needs a number above 0")?),
            "--seed" => options.seed = value()?.parse().map_err(|_| "--seed needs a number")?,
            "--edition" => {
                options.editions = match value()?.as_str() {
                    "lite" => vec![Edition::Lite],
                    "standard" => vec![Edition::Standard],
                    other => return Err(format!("there is no edition {other}")),
                }
            }
            name => {
                options.sections.push(Section::ALL.into_iter().find(|section| section.name() == name).ok_or_else(|| format!("there is no section {name}"))?)
            }
        }
    }
    if options.sections.is_empty() {
        options.sections = Section::ALL.to_vec();
    }
    Ok(Some(options))
}

/// Chance that can be repeated (SplitMix64).
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// Begins at `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `limit`, which is above 0.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((mixed ^ (mixed >> 31)) % limit as u64).unwrap_or(0)
    }
}
