use super::*;
use crate::testing::{call, context};
use async_trait::async_trait;
use goclaw_ports::tools::{NoVirtualFiles, Tool, ToolResult};
use serde_json::json;
use std::{fs, os::unix::fs::symlink};
use tempfile::TempDir;

/// One row: `SOUL.md`.
struct Row(std::sync::Mutex<String>);

#[async_trait]
impl VirtualFiles for Row {
    async fn read(&self, _: &ToolContext, path: &str) -> Option<Result<String, String>> {
        (path == "SOUL.md").then(|| Ok(self.0.lock().unwrap().clone()))
    }
    async fn write(&self, _: &ToolContext, path: &str, content: &str) -> Option<Result<String, String>> {
        match path {
            "SOUL.md" => {
                *self.0.lock().unwrap() = content.to_owned();
                Some(Ok("saved".into()))
            }
            "USER.md" => Some(Err("only the owner may change it".into())),
            _ => None,
        }
    }
}

fn files() -> WorkspaceFiles {
    WorkspaceFiles::new(Arc::new(NoVirtualFiles), Arc::from([]))
}

fn workspace() -> (TempDir, ToolContext) {
    let directory = TempDir::new().unwrap();
    let context = context(directory.path());
    (directory, context)
}

#[tokio::test]
async fn read_gives_a_short_file_as_it_is() {
    let (directory, context) = workspace();
    fs::write(directory.path().join("a.txt"), "one\ntwo").unwrap();
    fs::write(directory.path().join("empty"), "").unwrap();
    let read = ReadFile::new(files());
    assert_eq!(call(&read, &context, json!({"path": "a.txt"})).await, ToolResult::silent("one\ntwo"));
    assert!(call(&read, &context, json!({"path": "empty"})).await.for_llm.contains("empty"));
}

#[tokio::test]
async fn read_gives_a_range_and_says_how_to_go_on() {
    let (directory, context) = workspace();
    fs::write(directory.path().join("a.txt"), "0\n1\n2\n3\n4\n").unwrap();
    let read = ReadFile::new(files());
    let part = call(&read, &context, json!({"path": "a.txt", "offset": 1.0, "limit": 2})).await;
    assert_eq!(part.for_llm, "1\n2\n\n[lines 2-3 of 5; continue with offset=3]");
    let rest = call(&read, &context, json!({"path": "a.txt", "offset": 3, "limit": null})).await;
    assert_eq!(rest.for_llm, "3\n4\n\n[lines 4-5 of 5]");
    let past = call(&read, &context, json!({"path": "a.txt", "offset": 9})).await;
    assert!(!past.is_error && past.for_llm.contains("5 lines"));
}

#[tokio::test]
async fn read_cuts_at_a_line_and_keeps_at_least_one() {
    let (directory, context) = workspace();
    fs::write(directory.path().join("many"), "é".repeat(999).to_string() + "\n" + &("x".repeat(999) + "\n").repeat(60)).unwrap();
    fs::write(directory.path().join("long"), "é".repeat(60_000) + "\nend").unwrap();
    let read = ReadFile::new(files());
    let many = call(&read, &context, json!({"path": "many"})).await.for_llm;
    assert!(many.ends_with("[lines 1-50 of 61; continue with offset=50]"), "{}", &many[many.len() - 80..]);
    let long = call(&read, &context, json!({"path": "long"})).await.for_llm;
    assert_eq!(long.chars().filter(|c| *c == 'é').count(), 50_000);
    assert!(long.contains("continue with offset=1]"));
}

#[tokio::test]
async fn read_refuses_what_is_no_text() {
    let (directory, context) = workspace();
    fs::write(directory.path().join("blob"), b"a\0b").unwrap();
    fs::File::create(directory.path().join("huge.log")).unwrap().set_len(MAX_FILE + 1).unwrap();
    let read = ReadFile::new(files());
    for (path, hint) in [
        ("a.PNG", "read_image"),
        ("a.m4a", "read_audio"),
        ("a.pdf", "read_document"),
        ("a.zip", "exec"),
        ("blob", "binary"),
        ("huge.log", "10 MiB"),
        ("none", "not found: none"),
        (".", "list_files"),
    ] {
        let answer = call(&read, &context, json!({"path": path})).await;
        assert!(answer.is_error && answer.for_llm.contains(hint), "{path}: {}", answer.for_llm);
    }
    assert_eq!(call(&read, &context, json!({})).await.for_llm, "path is required");
}

#[tokio::test]
async fn no_refusal_names_a_path_of_the_server() {
    let (directory, context) = workspace();
    symlink("/etc/passwd", directory.path().join("link")).unwrap();
    let tools: Vec<Box<dyn Tool>> = vec![Box::new(ReadFile::new(files())), Box::new(WriteFile::new(files())), Box::new(ListFiles::new(files()))];
    for path in ["../x", "link", "config.json", "memory/x"] {
        for tool in &tools {
            let answer = call(tool.as_ref(), &context, json!({"path": path, "content": "x"})).await;
            assert!(answer.is_error && answer.for_llm.starts_with("access denied"), "{path}: {}", answer.for_llm);
            assert!(!answer.for_llm.contains(directory.path().to_str().unwrap()) && !answer.for_llm.contains("/etc"));
        }
    }
}

#[tokio::test]
async fn write_creates_replaces_and_appends() {
    let (directory, context) = workspace();
    let write = WriteFile::new(files());
    let first = call(&write, &context, json!({"path": "a/b.md", "content": "héllo"})).await;
    assert!(first.for_llm.contains("Wrote a/b.md (6 bytes)") && first.for_llm.contains("do not send it again"));
    assert_eq!(first.media.len(), 1);
    assert_eq!(first.media[0].content_type, "text/markdown");
    assert_eq!(Path::new(&first.media[0].path), directory.path().canonicalize().unwrap().join("a/b.md"));
    let more = call(&write, &context, json!({"path": "a/b.md", "content": "!", "append": true, "deliver": false})).await;
    assert!(more.media.is_empty() && more.for_llm.starts_with("Appended"));
    assert_eq!(fs::read_to_string(directory.path().join("a/b.md")).unwrap(), "héllo!");
    call(&write, &context, json!({"path": "a/b.md", "content": ""})).await;
    assert_eq!(fs::read_to_string(directory.path().join("a/b.md")).unwrap(), "");
    assert!(call(&write, &context, json!({"path": "x"})).await.is_error);
}

#[tokio::test]
async fn edit_replaces_exact_text() {
    let (directory, context) = workspace();
    fs::write(directory.path().join("f"), "a b a").unwrap();
    let edit = Edit::new(files());
    let refused = |arguments| async { call(&edit, &context, arguments).await };
    assert!(refused(json!({"path": "f", "old_string": "", "new_string": "x"})).await.is_error);
    assert!(refused(json!({"path": "f", "old_string": "a", "new_string": "a"})).await.for_llm.contains("identical"));
    assert!(refused(json!({"path": "f", "old_string": "z", "new_string": "x"})).await.for_llm.contains("not found"));
    assert!(refused(json!({"path": "f", "old_string": "a", "new_string": "x"})).await.for_llm.contains("2 times"));
    assert!(refused(json!({"path": "g", "old_string": "a", "new_string": "x"})).await.for_llm.contains("file not found"));
    assert_eq!(call(&edit, &context, json!({"path": "f", "old_string": "b", "new_string": ""})).await.for_llm, "Edited f: 1 replacement.");
    assert_eq!(
        call(&edit, &context, json!({"path": "f", "old_string": "a", "new_string": "c", "replace_all": true})).await.for_llm,
        "Edited f: 2 replacements."
    );
    assert_eq!(fs::read_to_string(directory.path().join("f")).unwrap(), "c  c");
}

#[tokio::test]
async fn parallel_edits_of_one_file_are_all_kept() {
    let (directory, context) = workspace();
    let names: Vec<String> = (0..20).map(|n| format!("<{n}>")).collect();
    fs::write(directory.path().join("f"), names.concat()).unwrap();
    let edit = Edit::new(files());
    futures_util::future::join_all(names.iter().map(|name| call(&edit, &context, json!({"path": "f", "old_string": name, "new_string": "."})))).await;
    assert_eq!(fs::read_to_string(directory.path().join("f")).unwrap(), ".".repeat(20));
}

#[tokio::test]
async fn virtual_files_come_before_the_disk() {
    let (directory, context) = workspace();
    let files = WorkspaceFiles::new(Arc::new(Row(std::sync::Mutex::new("kind".into()))), Arc::from([]));
    let (read, write, edit) = (ReadFile::new(files.clone()), WriteFile::new(files.clone()), Edit::new(files));
    assert_eq!(call(&read, &context, json!({"path": "SOUL.md"})).await.for_llm, "kind");
    assert!(!call(&edit, &context, json!({"path": "SOUL.md", "old_string": "kind", "new_string": "brave"})).await.is_error);
    let appended = call(&write, &context, json!({"path": "SOUL.md", "content": "!", "append": true})).await;
    assert!(appended.media.is_empty() && appended.for_llm == "saved");
    assert_eq!(call(&read, &context, json!({"path": "SOUL.md"})).await.for_llm, "brave!");
    assert!(call(&write, &context, json!({"path": "USER.md", "content": "x"})).await.is_error);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn list_shows_what_may_be_opened_by_name() {
    let (directory, context) = workspace();
    let root = directory.path();
    fs::create_dir(root.join("sub")).unwrap();
    fs::create_dir(root.join("memory")).unwrap();
    fs::write(root.join("b.txt"), "12345").unwrap();
    fs::write(root.join("a\nb"), "").unwrap();
    symlink("b.txt", root.join("c")).unwrap();
    symlink("/etc", root.join("out")).unwrap();
    let list = ListFiles::new(files());
    let answer = call(&list, &context, json!({})).await;
    assert_eq!(answer.for_llm, "[FILE] a?b (0 bytes)\n[FILE] b.txt (5 bytes)\n[FILE] c (5 bytes)\n[DIR]  sub/");
    assert!(call(&list, &context, json!({"path": "sub"})).await.for_llm.contains("empty"));
    let missing = call(&list, &context, json!({"path": "nope"})).await;
    assert!(!missing.is_error && missing.for_llm.contains("nope"));
    assert!(call(&list, &context, json!({"path": "b.txt"})).await.for_llm.contains("read_file"));
}
