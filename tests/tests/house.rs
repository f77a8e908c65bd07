//! The rules of the house: which way dependencies point, how long files get, what tests may not do.

use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const LONGEST_FILE: usize = 700;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// The direct dependencies of every crate of the workspace that are built into it.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    dependencies_in("Cargo.toml")
}

/// The same of the workspace with this manifest.
fn dependencies_in(manifest: &str) -> BTreeMap<String, BTreeSet<String>> {
    let arguments = ["metadata", "--format-version=1", "--no-deps", "--offline", "--manifest-path", manifest];
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let of = |package: &Value| {
        let dependencies = package["dependencies"].as_array().unwrap().iter().filter(|dependency| dependency["kind"].is_null());
        dependencies.map(|dependency| dependency["name"].as_str().unwrap().to_owned()).collect()
    };
    metadata["packages"].as_array().unwrap().iter().map(|package| (package["name"].as_str().unwrap().to_owned(), of(package))).collect()
}

/// What a crate depends on, directly or through other crates of the workspace.
fn reach(all: &BTreeMap<String, BTreeSet<String>>, from: &str) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut open = vec![from.to_owned()];
    while let Some(name) = open.pop() {
        for dependency in all.get(&name).into_iter().flatten() {
            if reached.insert(dependency.clone()) {
                open.push(dependency.clone());
            }
        }
    }
    reached
}

/// Every file of ours with this ending.
fn files(ending: &str) -> Vec<PathBuf> {
    fn walk(directory: &Path, ending: &str, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).unwrap().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            if path.is_dir() && !name.starts_with('.') && name != "target" && name != "node_modules" {
                walk(&path, ending, found);
            } else if name.ends_with(ending) {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root(), ending, &mut found);
    assert!(!found.is_empty(), "there are files that end in {ending}");
    found
}

#[test]
fn ports_and_core_know_no_framework_database_or_client() {
    let all = dependencies();
    let foreign = ["actix", "diesel", "rusqlite", "reqwest", "paperclip", "tokio-postgres", "sqlite-vec"];
    for name in ["goclaw-ports", "goclaw-core"] {
        let reached = reach(&all, name);
        assert!(!reached.is_empty(), "{name} depends on something");
        let wrong: Vec<_> = reached.iter().filter(|dependency| foreign.iter().any(|prefix| dependency.starts_with(prefix))).collect();
        assert!(wrong.is_empty(), "{name} reaches {wrong:?}");
    }
}

#[test]
fn dependencies_point_inward() {
    let all = dependencies();
    let ours = |name: &str| reach(&all, name).into_iter().filter(|dependency| dependency.starts_with("goclaw")).collect::<Vec<_>>();
    assert!(ours("goclaw-ports").is_empty());
    assert_eq!(ours("goclaw-core"), ["goclaw-ports"]);
    assert_eq!(ours("goclaw-gateway"), ["goclaw-core", "goclaw-ports"]);
    let adapters: Vec<_> =
        fs::read_dir(root().join("adapters")).unwrap().flatten().map(|entry| format!("goclaw-{}", entry.file_name().to_string_lossy())).collect();
    assert!(adapters.len() >= 8);
    for adapter in &adapters {
        let wrong: Vec<_> =
            ours(adapter).into_iter().filter(|name| !["goclaw-ports", "goclaw-core", "goclaw-outbound", "goclaw-process"].contains(&name.as_str())).collect();
        assert!(wrong.is_empty(), "{adapter} reaches {wrong:?}");
    }
}

#[test]
fn no_file_has_more_than_one_job() {
    let long: Vec<_> = files(".rs").into_iter().filter(|path| fs::read_to_string(path).unwrap().lines().count() > LONGEST_FILE).collect();
    assert!(long.is_empty(), "over {LONGEST_FILE} lines: {long:?}");
}

#[test]
fn tests_wait_for_events_and_not_for_time() {
    let needle = ["sleep", "("].concat();
    let is_test = |path: &Path| {
        path.components().any(|part| part.as_os_str() == "tests")
            && !path.components().any(|part| ["bench", "torture"].iter().any(|program| part.as_os_str() == *program))
    };
    let in_tests = |path: &Path, text: &str| match is_test(path) {
        true => text.to_owned(),
        false => text.split_once("#[cfg(test)]").map(|(_, tests)| tests.to_owned()).unwrap_or_default(),
    };
    for path in files(".rs") {
        let text = fs::read_to_string(&path).unwrap();
        for line in in_tests(&path, &text).lines() {
            assert!(!line.contains(&needle) || line.trim_start().starts_with("//"), "{}: {line}", path.display());
        }
    }
}

#[test]
fn no_test_is_switched_off() {
    let needle = ["#[", "ignore"].concat();
    for path in files(".rs") {
        assert!(!fs::read_to_string(&path).unwrap().contains(&needle), "{}", path.display());
    }
}

/// Fuzz targets are a workspace of their own, and one of them compiles the gateway's configuration.
#[test]
fn fuzz_targets_have_every_crate_that_the_configuration_uses() {
    let (gateways, targets) = (&dependencies()["goclaw"], &dependencies_in("fuzz/Cargo.toml")["goclaw-fuzz"]);
    let code: String = files(".rs")
        .iter()
        .filter(|path| path.starts_with(root().join("src/goclaw/src/config")) && !path.ends_with("tests.rs"))
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let inside = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let uses = |name: &str| code.match_indices(&format!("{}::", name.replace('-', "_"))).any(|(at, _)| !code[..at].ends_with(inside));
    let used: Vec<_> = gateways.iter().filter(|name| uses(name)).collect();
    assert!(used.len() > 5, "{used:?}");
    for name in used {
        assert!(targets.contains(name), "{name} is missing in fuzz/Cargo.toml");
    }
}

#[test]
fn no_crate_brings_a_c_client_or_a_second_tls() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    for name in ["pq-sys", "openssl-sys", "native-tls", "pgvector"] {
        assert!(!lock.contains(&format!("name = \"{name}\"\n")), "{name}");
    }
}

#[test]
fn the_readme_says_how_to_run_and_how_to_test() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for command in ["make run", "make test"] {
        assert!(readme.contains(command), "{command}");
    }
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    for target in ["run:", "test:"] {
        assert!(makefile.lines().any(|line| line.starts_with(target)), "{target}");
    }
}

/// The methods of stores, and of locks, that see one tenant, as `Store::method`.
fn methods_for_one_tenant() -> Vec<(String, String)> {
    let (mut methods, mut store) = (Vec::new(), None);
    for path in files(".rs").into_iter().filter(|path| path.starts_with(root().join("ports/src"))) {
        let text = fs::read_to_string(&path).unwrap();
        // Long signatures have one parameter per line.
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            if let Some(rest) = line.strip_prefix("pub trait ") {
                store = rest.split(':').next().filter(|name| name.ends_with("Store") || *name == "Locks").map(str::to_owned);
            }
            let Some((name, parameters)) = line.trim_start().strip_prefix("async fn ").and_then(|rest| rest.split_once('(')) else { continue };
            let mut parameters = parameters.to_owned();
            while !parameters.contains(')') {
                parameters.push_str(lines.next().unwrap());
            }
            let first = parameters.replace("&self,", "");
            if let (Some(store), true) = (&store, first.trim_start().starts_with("tenant: TenantId")) {
                methods.push((store.clone(), name.to_owned()));
            }
        }
    }
    methods
}

/// Where the stores are: `AgentStore` is `agents`.
fn fields_of_stores() -> BTreeMap<String, String> {
    let text = fs::read_to_string(root().join("ports/src/stores.rs")).unwrap();
    let field = |line: &str| {
        let (name, kind) = line.trim().strip_prefix("pub ")?.strip_suffix(">,")?.split_once(": Arc<dyn ")?;
        Some((kind.to_owned(), name.to_owned()))
    };
    text.lines().filter_map(field).collect()
}

#[test]
fn every_store_method_is_called_for_another_tenant() {
    let suite = files(".rs").into_iter().filter(|path| path.starts_with(root().join("tests/tests/stores")));
    let suite: Vec<String> = suite.map(|path| fs::read_to_string(path).unwrap().split_whitespace().collect()).collect();
    let (methods, fields) = (methods_for_one_tenant(), fields_of_stores());
    assert!(methods.len() > 90, "{}", methods.len());
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    // By custom the other tenant is `b` or `other`. A variable that stands for the store counts as it, and a closure of the same name
    // as the method, in a file that speaks of this store.
    let is_tested = |store: &str, method: &str| {
        let (field, call) = (format!(".{}", fields[store]), format!("{method}("));
        suite.iter().filter(|text| text.contains(&field)).any(|text| {
            text.match_indices(&call).any(|(at, _)| {
                let (before, after) = (&text[..at], &text[at + call.len()..]);
                let on_this_store = match before.strip_suffix('.') {
                    Some(store) => store.ends_with(&field) || !store.trim_end_matches(inside).ends_with('.'),
                    None => !before.ends_with(inside),
                };
                on_this_store && ["b,", "b)", "other,", "other)"].iter().any(|tenant| after.starts_with(tenant))
            })
        })
    };
    let untested: Vec<_> = methods.iter().filter(|(store, method)| !is_tested(store, method)).collect();
    assert!(untested.is_empty(), "tests/tests/stores wants a test that calls these for a tenant `b` and meets nothing of tenant `a`: {untested:?}");
}

#[test]
fn migrations_of_both_databases_have_the_same_numbers_and_names() {
    let names = |directory: &str| {
        let mut names: Vec<_> = fs::read_dir(root().join(directory))
            .unwrap()
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().split('.').next().unwrap().to_owned())
            .collect();
        names.sort();
        names.dedup();
        names
    };
    assert_eq!(names("migrations-postgres"), names("migrations-sqlite"));
    assert!(!names("migrations-sqlite").is_empty());
}
