//! Finding a file: where it should be, under a name with a time stamp, or anywhere below.

use super::{
    kind::is_output,
    places::{Place, Roots, Sight, TENANTS},
};
use goclaw_ports::{
    Result,
    files::{Disk, OpenFile},
};
use std::{collections::VecDeque, path::Path};

/// How many directories a search enters, and how deep.
const MAX_DIRECTORIES: usize = 2_000;
const MAX_DEPTH: usize = 10;
/// The hidden directory that is searched: what users sent lies there.
const SEARCHED_HIDDEN: &str = ".uploads";

/// A search on behalf of somebody.
pub(super) struct Looking<'a> {
    pub disk: &'a dyn Disk,
    pub roots: &'a Roots,
    pub sight: &'a Sight,
}

impl Looking<'_> {
    /// The file at this place, or an output beside it whose name only has a time stamp more.
    pub async fn at(&self, place: &Place) -> Result<Option<OpenFile>> {
        if let Some(file) = self.open(place).await? {
            return Ok(Some(file));
        }
        let (Some(directory), Some(name)) = (place.below.parent(), place.below.file_name().and_then(|name| name.to_str())) else { return Ok(None) };
        if !is_output(name) {
            return Ok(None);
        }
        let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
        let entries = self.disk.entries(&place.root, directory).await?;
        let alike = entries.iter().find(|entry| {
            !entry.is_directory
                && entry.name.rsplit_once('.').is_some_and(|(longer, same)| same == extension && longer.strip_prefix(stem).is_some_and(is_time_stamp))
        });
        match alike {
            Some(entry) => self.open(&Place { below: directory.join(&entry.name), ..place.clone() }).await,
            None => Ok(None),
        }
    }

    /// The first file of this name below `start`, the nearest first.
    pub async fn below(&self, start: &Place, name: &str) -> Result<Option<OpenFile>> {
        let mut waiting = VecDeque::from([(start.below.clone(), 0)]);
        let mut entered = 0;
        while let Some((directory, depth)) = waiting.pop_front() {
            entered += 1;
            if entered > MAX_DIRECTORIES {
                tracing::warn!(root = %start.root.display(), "a search for a file was given up: there are too many directories");
                return Ok(None);
            }
            for entry in self.disk.entries(&start.root, &directory).await? {
                let below = directory.join(&entry.name);
                if !entry.is_directory {
                    if entry.name == name
                        && let Some(file) = self.open(&Place { below, ..start.clone() }).await?
                    {
                        return Ok(Some(file));
                    }
                } else if depth < MAX_DEPTH && is_searched(start, &below) {
                    waiting.push_back((below, depth + 1));
                }
            }
        }
        Ok(None)
    }

    /// The file at this place and nowhere else, if it is seen, also after links have led elsewhere.
    pub async fn open(&self, place: &Place) -> Result<Option<OpenFile>> {
        let covered = |path: &Path| self.roots.place(path).is_some_and(|place| self.sight.covers(&place));
        // The place as it is written is looked at anew: it may have been put together.
        if !covered(&place.root.join(&place.below)) {
            return Ok(None);
        }
        let file = self.disk.open(&place.root, &place.below).await?;
        Ok(file.filter(|file| covered(&file.path)))
    }
}

fn is_searched(start: &Place, below: &Path) -> bool {
    let name = below.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let is_tenants = start.tenant.is_none() && !start.is_data && below == Path::new(TENANTS);
    !is_tenants && (name == SEARCHED_HIDDEN || !(name.starts_with('.') || name == "node_modules"))
}

/// Whether a name goes on with digits, as in `_20261127-093000_123456`.
fn is_time_stamp(rest: &str) -> bool {
    rest.len() > 1 && rest.starts_with(['_', '-']) && rest.bytes().all(|byte| byte.is_ascii_digit() || b"_-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_stamp_is_digits() {
        for (rest, expected) in [("_20261127-093000_123456", true), ("-1", true), ("", false), ("2", false), ("_v2", false), ("_", false)] {
            assert_eq!(is_time_stamp(rest), expected, "{rest}");
        }
    }
}
