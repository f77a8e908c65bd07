//! Bodies of fuzz targets: see `fuzz/README.md`.

use super::{
    inspect::{Inspection, Rows},
    layout::Section,
};
use goclaw_ports::{ErrorKind, Result, archives::ImportRow};
use tokio::sync::mpsc;

/// What stands between two files, and what between the path of a file and its content.
const BETWEEN: &str = "\n---\n";

/// Looks at the files of an archive, and reads their rows if they can be used.
///
/// # Panics
/// If other rows are read than were counted, or an archive counts as our own fault.
pub fn archive_rows(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let files: Vec<_> = text.split(BETWEEN).map(|file| file.split_once('\n').unwrap_or((file, ""))).collect();
    let mut seen = Inspection::default();
    let inspected = files.iter().try_for_each(|(path, content)| seen.entry(path, &mut content.as_bytes()));
    if let Err(error) = inspected {
        return assert_eq!(error.kind, ErrorKind::Invalid, "{error:?}");
    }
    let counted = seen.context_files + seen.user_files + seen.profiles;
    let rows = rows(seen, &files);
    assert!(rows.is_ok_and(|rows| rows.len() as u64 == counted), "what was looked at can be read");
}

fn rows(seen: Inspection, files: &[(&str, &str)]) -> Result<Vec<ImportRow>> {
    drop(seen.unsupported());
    let (to, mut from) = mpsc::channel(1_000);
    let mut rows = Rows::new(Section::ALL.to_vec(), seen.users, to);
    files.iter().try_for_each(|(path, content)| rows.entry(path, &mut content.as_bytes()))?;
    let mut all = rows.rest();
    drop(rows);
    while let Some(batch) = from.blocking_recv() {
        all.extend(batch?);
    }
    Ok(all)
}

#[cfg(test)]
#[path = "../../../../fuzz/bounded.rs"]
mod bounded;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_file_of_an_archive_is_read_as_it_was_counted_or_refused() {
        bounded::run("archive_rows", archive_rows);
    }
}
