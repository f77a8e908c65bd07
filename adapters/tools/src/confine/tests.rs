use super::*;
use proptest::prelude::*;
use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    sync::atomic::{AtomicBool, Ordering},
};
use tempfile::TempDir;

const SECRET: &str = "outside";

/// A directory with a secret beside a workspace.
fn layout() -> (TempDir, PathBuf) {
    let base = TempDir::new().unwrap();
    let workspace = base.path().join("workspace");
    fs::create_dir_all(workspace.join("d/e")).unwrap();
    fs::write(workspace.join("inside.txt"), "inside").unwrap();
    fs::write(base.path().join("secret.txt"), SECRET).unwrap();
    (base, workspace)
}

fn read(workspace: &Path, path: &str) -> Result<String, PathError> {
    Root::open(workspace, &[])?.read(path, Access::Read, 1 << 20).map(|bytes| String::from_utf8(bytes).unwrap())
}

fn write(workspace: &Path, path: &str, content: &str) -> Result<PathBuf, PathError> {
    Root::open(workspace, &[])?.replace(path, content.as_bytes())
}

#[test]
fn paths_that_leave_the_workspace_are_refused() {
    let (base, workspace) = layout();
    let outside = base.path().join("secret.txt");
    symlink(&outside, workspace.join("link")).unwrap();
    symlink(base.path(), workspace.join("up")).unwrap();
    symlink("../..", workspace.join("d/upup")).unwrap();
    symlink(base.path().join("new.txt"), workspace.join("dangling")).unwrap();
    symlink("nowhere/../../new.txt", workspace.join("d/dangling")).unwrap();
    symlink("loop", workspace.join("loop")).unwrap();
    let absolute = outside.to_str().unwrap();
    let sibling = format!("{}-2/x", workspace.display());
    for path in [
        "../secret.txt",
        "../../etc/passwd",
        "d/../../secret.txt",
        absolute,
        &sibling,
        "link",
        "up/secret.txt",
        "d/upup/secret.txt",
        "dangling",
        "d/dangling",
        "loop",
        "/",
    ] {
        assert_eq!(read(&workspace, path), Err(PathError::Outside), "{path}");
        assert_eq!(write(&workspace, path, "x"), Err(if path == "/" { PathError::IsDirectory } else { PathError::Outside }), "{path}");
    }
    assert!(!base.path().join("new.txt").exists());
    assert_eq!(fs::read_to_string(outside).unwrap(), SECRET);
    assert_eq!(read(&workspace, "a\0b"), Err(PathError::Malformed));
}

#[test]
fn paths_and_links_inside_are_served() {
    let (_base, workspace) = layout();
    let absolute = workspace.join("inside.txt");
    symlink("../inside.txt", workspace.join("d/link")).unwrap();
    symlink(&absolute, workspace.join("d/absolute")).unwrap();
    symlink("new/target.txt", workspace.join("d/fresh")).unwrap();
    for path in ["inside.txt", "./d/../inside.txt", absolute.to_str().unwrap(), "d/link", "d/absolute"] {
        assert_eq!(read(&workspace, path).as_deref(), Ok("inside"), "{path}");
    }
    write(&workspace, "a/b/c.txt", "new").unwrap();
    assert_eq!(fs::metadata(workspace.join("a/b")).unwrap().mode() & 0o777, 0o755);
    assert_eq!(fs::metadata(workspace.join("a/b/c.txt")).unwrap().mode() & 0o777, 0o644);
    write(&workspace, "d/fresh", "through").unwrap();
    assert_eq!(fs::read_to_string(workspace.join("d/new/target.txt")).unwrap(), "through");
}

#[test]
fn a_file_with_a_second_name_is_neither_read_nor_written_nor_listed() {
    let (base, workspace) = layout();
    fs::hard_link(base.path().join("secret.txt"), workspace.join("hard.txt")).unwrap();
    assert_eq!(read(&workspace, "hard.txt"), Err(PathError::HardLinked));
    assert_eq!(write(&workspace, "hard.txt", "x"), Err(PathError::HardLinked));
    let root = Root::open(&workspace, &[]).unwrap();
    assert_eq!(root.append("hard.txt", b"x"), Err(PathError::HardLinked));
    assert!(!root.list(".").unwrap().iter().any(|entry| entry.name == "hard.txt"));
    assert_eq!(fs::read_to_string(base.path().join("secret.txt")).unwrap(), SECRET);
}

#[test]
fn closed_names_are_refused_by_any_way_to_them() {
    let (_base, workspace) = layout();
    fs::create_dir_all(workspace.join("memory")).unwrap();
    fs::create_dir_all(workspace.join(".uploads")).unwrap();
    fs::write(workspace.join("memory/m.md"), "m").unwrap();
    fs::write(workspace.join(".uploads/u"), "u").unwrap();
    symlink("memory", workspace.join("alias")).unwrap();
    assert_eq!(read(&workspace, "config.json"), Err(PathError::Restricted("config.json")));
    assert_eq!(read(&workspace, "d/../memory/m.md"), Err(PathError::Restricted("memory/")));
    assert_eq!(read(&workspace, "alias/m.md"), Err(PathError::Restricted("memory/")));
    assert_eq!(read(&workspace, ".uploads/u").as_deref(), Ok("u"));
    assert_eq!(write(&workspace, ".uploads/u", "x"), Err(PathError::Restricted(".uploads/")));
    let names: Vec<_> = Root::open(&workspace, &[]).unwrap().list(".").unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["d", "inside.txt"]);
}

#[test]
fn protected_paths_are_refused_but_not_a_workspace_inside_of_one() {
    let (base, workspace) = layout();
    fs::create_dir(workspace.join("d/keys")).unwrap();
    fs::write(workspace.join("d/keys/k"), "k").unwrap();
    let protected = [base.path().to_owned(), workspace.join("d/keys")];
    let root = Root::open(&workspace, &protected).unwrap();
    assert!(root.read("inside.txt", Access::Read, 100).is_ok());
    assert_eq!(root.read("d/keys/k", Access::Read, 100), Err(PathError::Protected));
}

#[test]
fn replacing_keeps_the_mode_and_leaves_no_draft() {
    let (_base, workspace) = layout();
    let script = workspace.join("d/run.sh");
    fs::write(&script, "a").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    write(&workspace, "d/run.sh", "b").unwrap();
    assert_eq!(fs::metadata(&script).unwrap().mode() & 0o777, 0o755);
    assert_eq!(write(&workspace, "d/e", "x"), Err(PathError::IsDirectory));
    assert_eq!(fs::read_dir(workspace.join("d")).unwrap().count(), 2);
}

#[test]
fn a_pipe_is_refused_instead_of_waited_for() {
    let (_base, workspace) = layout();
    nix::unistd::mkfifo(&workspace.join("pipe"), nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    assert_eq!(read(&workspace, "pipe"), Err(PathError::Special));
    assert_eq!(write(&workspace, "pipe", "x"), Err(PathError::Special));
}

#[test]
fn a_directory_that_turns_into_a_link_between_steps_never_leads_out() {
    let (base, workspace) = layout();
    fs::create_dir(base.path().join("outside")).unwrap();
    fs::write(base.path().join("outside/f"), SECRET).unwrap();
    fs::create_dir(workspace.join("real")).unwrap();
    fs::write(workspace.join("real/f"), "inside").unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                fs::rename(workspace.join("real"), workspace.join("kept")).unwrap();
                symlink(base.path().join("outside"), workspace.join("real")).unwrap();
                fs::remove_file(workspace.join("real")).unwrap();
                fs::rename(workspace.join("kept"), workspace.join("real")).unwrap();
            }
        });
        for _ in 0..3_000 {
            if let Ok(text) = read(&workspace, "real/f") {
                assert_eq!(text, "inside");
            }
            // While `real` is away the write makes a directory of that name, which would end the other side.
            let _ = Root::open(&workspace, &[]).unwrap().append("real/../inside.txt", b"");
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(fs::read_to_string(base.path().join("outside/f")).unwrap(), SECRET);
}

fn segment() -> impl Strategy<Value = String> {
    prop_oneof![Just("..".to_owned()), Just(".".to_owned()), Just("a".to_owned()), Just("b".to_owned()), Just("c".to_owned()), Just("secret.txt".to_owned())]
}

fn path() -> impl Strategy<Value = String> {
    (any::<bool>(), prop::collection::vec(segment(), 1..6)).prop_map(|(absolute, names)| format!("{}{}", if absolute { "/BASE/" } else { "" }, names.join("/")))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever links a workspace holds, no path reads or changes a thing outside of it.
    #[test]
    fn no_layout_of_links_leads_out(links in prop::collection::vec((path(), path()), 0..6), paths in prop::collection::vec(path(), 1..8)) {
        let base = TempDir::new().unwrap();
        let root = base.path().canonicalize().unwrap();
        let real = |path: &str| path.replace("/BASE", root.to_str().unwrap());
        for name in ["secret.txt", "a", "b"] {
            fs::write(root.join(name), SECRET).unwrap();
        }
        let workspace = root.join("c");
        fs::create_dir_all(workspace.join("a")).unwrap();
        fs::write(workspace.join("a/b"), "inside").unwrap();
        for (name, target) in &links {
            let Some(name) = cleaned(Path::new(name)) else { continue };
            let name = name.strip_prefix("BASE").unwrap_or(&name);
            // Links that cannot be made here are of no interest.
            let _ = symlink(real(target), workspace.join(name));
        }
        for path in &paths {
            let path = real(path);
            if let Ok(text) = read(&workspace, &path) {
                prop_assert_ne!(&text, SECRET, "read {}", path);
            }
            if let Ok(place) = write(&workspace, &path, "written") {
                prop_assert!(place.canonicalize().unwrap().starts_with(&workspace), "{} wrote {:?}", path, place);
            }
            if let Ok((_, relative)) = Root::open(&workspace, &[]).unwrap().directory(&path, Access::Read) {
                prop_assert!(workspace.join(relative).canonicalize().unwrap().starts_with(&workspace));
            }
        }
        for name in ["secret.txt", "a", "b"] {
            prop_assert_eq!(fs::read_to_string(root.join(name)).unwrap(), SECRET);
        }
        let mut names: Vec<_> = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        prop_assert_eq!(names, ["a", "b", "c", "secret.txt"]);
    }
}
