use super::*;
use flate2::{Compression, write::GzEncoder};
use goclaw_ports::ErrorKind;
use proptest::prelude::*;
use rstest::rstest;
use std::io::Write;
use tar::{Builder, Header};

const LIMIT: u64 = 1 << 20;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A header whose path is written as it is, whatever it is.
fn header(kind: EntryType, path: &[u8], size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path);
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_cksum();
    header
}

fn entry(tar: &mut Builder<Vec<u8>>, kind: EntryType, path: &[u8], content: &[u8]) {
    tar.append(&header(kind, path, content.len() as u64), content).unwrap();
}

fn tar(entries: &[(EntryType, &[u8], &[u8])]) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for (kind, path, content) in entries {
        entry(&mut tar, *kind, path, content);
    }
    tar.into_inner().unwrap()
}

fn archive(entries: &[(EntryType, &[u8], &[u8])]) -> Vec<u8> {
    gzip(&tar(entries))
}

fn all_of(archive: &[u8]) -> Result<Vec<(String, Vec<u8>)>> {
    let mut found = Vec::new();
    read(archive, LIMIT, &mut |path, content| {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes).map_err(damaged)?;
        found.push((path.to_owned(), bytes));
        Ok(())
    })?;
    Ok(found)
}

fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    tar.append_pax_extensions(records.iter().map(|(key, value)| (*key, value.as_bytes()))).unwrap();
    entry(&mut tar, EntryType::Regular, b"short", b"x");
    gzip(&tar.into_inner().unwrap())
}

use EntryType as Kind;

#[test]
fn files_come_as_they_are_and_nothing_else_comes() {
    let read = all_of(&archive(&[
        (Kind::Directory, b"./", b""),
        (Kind::Regular, b"./agent.json", b"{}"),
        (Kind::Directory, b"workspace/", b""),
        (Kind::Regular, b"workspace//a/./b.txt", b"b"),
        (Kind::Regular, b"empty", b""),
    ]));
    let expected = [("agent.json", "{}"), ("workspace/a/b.txt", "b"), ("empty", "")];
    assert_eq!(read.unwrap(), expected.map(|(path, content)| (path.to_owned(), content.as_bytes().to_vec())));
}

#[test]
fn long_names_come_in_the_ways_of_gnu_and_of_pax() {
    let long = format!("workspace/{}/c\u{e1}o.txt", "d".repeat(200));
    let mut gnu = Builder::new(Vec::new());
    gnu.append_data(&mut header(Kind::Regular, b"", 1), &long, &b"x"[..]).unwrap();
    for archive in [gzip(&gnu.into_inner().unwrap()), pax(&[("mtime", "1.5"), ("path", &long)])] {
        assert_eq!(all_of(&archive).unwrap(), [(long.clone(), b"x".to_vec())]);
    }
}

#[test]
fn what_a_visitor_does_not_read_is_skipped_and_what_it_refuses_ends_the_reading() {
    let archive = archive(&[(Kind::Regular, b"a", &[7; 5000]), (Kind::Regular, b"b", b"b"), (Kind::Regular, b"c", b"c")]);
    let mut seen = Vec::new();
    let refused = read(&*archive, LIMIT, &mut |path, _| {
        seen.push(path.to_owned());
        if path == "b" { Err(Error::unavailable("b")) } else { Ok(()) }
    });
    assert_eq!(refused.unwrap_err().kind, ErrorKind::Unavailable);
    assert_eq!(seen, ["a", "b"]);
}

fn sparse() -> Vec<u8> {
    archive(&[(Kind::GNUSparse, b"workspace/a", b"x")])
}

fn bad_checksum() -> Vec<u8> {
    let mut bytes = tar(&[(Kind::Regular, b"a", b"x")]);
    bytes[0] = b'b';
    gzip(&bytes)
}

fn cut_tar() -> Vec<u8> {
    gzip(&tar(&[(Kind::Regular, b"a", &[7; 5000])])[..2000])
}

fn cut_gzip() -> Vec<u8> {
    let whole = archive(&[(Kind::Regular, b"a", b"x")]);
    whole[..whole.len() - 4].to_vec()
}

fn wrong_crc() -> Vec<u8> {
    let mut whole = archive(&[(Kind::Regular, b"a", b"x")]);
    let at = whole.len() - 8;
    whole[at] ^= 1;
    whole
}

fn bomb() -> Vec<u8> {
    archive(&[(Kind::Regular, b"workspace/zeros", &vec![0; LIMIT as usize])])
}

fn bomb_of_headers() -> Vec<u8> {
    archive(&[(Kind::XHeader, b"x", &vec![b'0'; 200_000]), (Kind::Regular, b"a", b"x")])
}

fn bomb_after_the_end() -> Vec<u8> {
    let mut bytes = tar(&[(Kind::Regular, b"a", b"x")]);
    bytes.resize(LIMIT as usize + 1, 0);
    gzip(&bytes)
}

fn trailing_garbage() -> Vec<u8> {
    let mut whole = archive(&[(Kind::Regular, b"a", b"x")]);
    whole.extend_from_slice(b"garbage");
    whole
}

fn lying_size() -> Vec<u8> {
    let mut bytes = header(Kind::Regular, b"a", 1 << 40).as_bytes().to_vec();
    bytes.extend_from_slice(&[7; 512]);
    gzip(&bytes)
}

fn global_path() -> Vec<u8> {
    archive(&[(Kind::XGlobalHeader, b"g", b"16 path=../../x\n"), (Kind::Regular, b"a", b"x")])
}

#[rstest]
#[case::leaves(archive(&[(Kind::Regular, b"workspace/../../x", b"x")]), "leads out")]
#[case::leaves_and_returns(archive(&[(Kind::Regular, b"workspace/a/../b", b"x")]), "leads out")]
#[case::leaves_as_a_directory(archive(&[(Kind::Directory, b"../x/", b"")]), "leads out")]
#[case::leaves_by_pax(pax(&[("path", "../../x")]), "leads out")]
#[case::leaves_by_gnu(archive(&[(Kind::GNULongName, b"././@LongLink", b"../../x\0"), (Kind::Regular, b"a", b"x")]), "leads out")]
#[case::leaves_globally(global_path(), "all files")]
#[case::absolute(archive(&[(Kind::Regular, b"/etc/passwd", b"x")]), "absolute")]
#[case::absolute_by_pax(pax(&[("path", "/etc/passwd")]), "absolute")]
#[case::symlink(archive(&[(Kind::Symlink, b"workspace/a", b"")]), "a link")]
#[case::hard_link(archive(&[(Kind::Link, b"workspace/a", b"")]), "a link")]
#[case::link_by_pax(pax(&[("linkpath", "/etc/passwd")]), "does not belong")]
#[case::size_by_pax(pax(&[("size", "1")]), "does not belong")]
#[case::sparse_by_pax(pax(&[("GNU.sparse.major", "1")]), "sparse")]
#[case::sparse(sparse(), "neither")]
#[case::device(archive(&[(Kind::Block, b"workspace/a", b"")]), "neither")]
#[case::terminal(archive(&[(Kind::Char, b"workspace/a", b"")]), "neither")]
#[case::pipe(archive(&[(Kind::Fifo, b"workspace/a", b"")]), "neither")]
#[case::not_utf8(archive(&[(Kind::Regular, b"workspace/\xff", b"x")]), "UTF-8")]
#[case::line_break(archive(&[(Kind::Regular, b"workspace/a\nb", b"x")]), "cannot be used")]
#[case::deep(pax(&[("path", &format!("{}x", "a/".repeat(MAX_DEPTH)))]), "cannot be used")]
#[case::long_name(pax(&[("path", &"a".repeat(MAX_NAME + 1))]), "cannot be used")]
#[case::long_path(pax(&[("path", &format!("{}x", "aaaaaaa/".repeat(600)))]), "too long")]
#[case::bomb(bomb(), "500 MiB")]
#[case::bomb_of_headers(bomb_of_headers(), "too long")]
#[case::bomb_after_the_end(bomb_after_the_end(), "500 MiB")]
#[case::lying_size(lying_size(), "")]
#[case::bad_checksum(bad_checksum(), "")]
#[case::cut_tar(cut_tar(), "")]
#[case::cut_gzip(cut_gzip(), "")]
#[case::wrong_crc(wrong_crc(), "")]
#[case::trailing_garbage(trailing_garbage(), "")]
#[case::no_gzip(tar(&[(Kind::Regular, b"a", b"x")]), "")]
#[case::no_tar(gzip(b"hello"), "")]
#[case::nothing_in_gzip(gzip(b""), "empty")]
#[case::nothing(vec![], "")]
fn hostile_archives_are_refused(#[case] archive: Vec<u8>, #[case] why: &str) {
    let mut seen = Vec::new();
    let error = read(&*archive, LIMIT, &mut |path, content| {
        seen.push(path.to_owned());
        io::copy(content, &mut io::sink()).map(drop).map_err(damaged)
    })
    .unwrap_err();
    assert_eq!((error.kind, error.message.key), (ErrorKind::Invalid, "error-archive-invalid"));
    assert!(error.message.to_string().contains(why), "{error}");
    assert!(seen.iter().all(|path| !path.contains("..") && !path.starts_with('/')), "{seen:?}");
}

#[test]
fn an_archive_at_the_limit_is_read() {
    // Its header, and the two blocks at its end.
    let fits = archive(&[(Kind::Regular, b"a", &vec![0; LIMIT as usize - 3 * 512])]);
    assert_eq!(all_of(&fits).unwrap().len(), 1);
}

fn whole() -> Vec<u8> {
    let long = format!("workspace/{}.txt", "n".repeat(150));
    let mut tar = Builder::new(Vec::new());
    entry(&mut tar, Kind::Regular, b"agent.json", br#"{"agent_key":"fox"}"#);
    tar.append_pax_extensions([("path", &b"user_context_files/mai/USER.md"[..])]).unwrap();
    entry(&mut tar, Kind::Regular, b"short", b"# User\n");
    tar.append_data(&mut header(Kind::Regular, b"", 700), &long, &[7; 700][..]).unwrap();
    entry(&mut tar, Kind::Regular, b"manifest.json", br#"{"version":1}"#);
    tar.into_inner().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens to an archive on its way, reading it ends, gives no path that leads out, and says what it is.
    #[test]
    fn damaged_archives_are_refused_or_harmless(
        inside: bool,
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1_u8..), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = if inside { whole() } else { gzip(&whole()) };
        for (at, flip) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let archive = if inside { gzip(&bytes) } else { bytes };
        match all_of(&archive) {
            Err(error) => prop_assert_eq!(error.kind, ErrorKind::Invalid),
            Ok(found) => for (path, _) in found {
                prop_assert!(path.split('/').all(|part| is_plain(part) && part != "." && part != ".."), "{path:?}");
            }
        }
    }

    /// Bytes that are no archive at all are refused.
    #[test]
    fn noise_is_refused(noise: Vec<u8>) {
        prop_assert_eq!(all_of(&noise).unwrap_err().kind, ErrorKind::Invalid);
    }

    /// No path of an archive leads out of it.
    #[test]
    fn a_safe_path_is_below_its_root(name: Vec<u8>) {
        if let Ok(path) = safe_path(&name) {
            prop_assert!(path.is_empty() || path.split('/').all(|part| is_plain(part) && part != "." && part != ".."));
        }
    }
}
