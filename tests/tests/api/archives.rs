//! Agents that are taken out as archives, and brought in again.

use crate::common::{Tenants, create_agent, create_agent_with};
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use goclaw_tests::{Edition, Http, Reply, Server, Setup};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    path::Path,
};
use tar::{Archive, Builder, EntryType, Header};

const ALL: &str = "config,context_files,memory,knowledge_graph,cron,user_profiles,user_overrides,workspace,nonsense";

/// A tar of these files, whatever their paths are.
fn tar(entries: &[(EntryType, &str, &[u8])]) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for (kind, path, content) in entries {
        let mut header = Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(*kind);
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append(&header, *content).unwrap();
    }
    tar.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let entries: Vec<_> = files.iter().map(|(path, content)| (EntryType::Regular, *path, content.as_bytes())).collect();
    gzip(&tar(&entries))
}

/// The files of an archive, of which the manifest must be the last.
fn unpacked(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut archive = Archive::new(GzDecoder::new(archive));
    let mut files = BTreeMap::new();
    let mut last = String::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        assert_eq!((entry.header().entry_type(), entry.header().mode().unwrap()), (EntryType::Regular, 0o644));
        last = entry.path().unwrap().to_str().unwrap().to_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        assert!(files.insert(last.clone(), content).is_none(), "{last} is there twice");
    }
    assert_eq!(last, "manifest.json");
    files
}

async fn exported(client: &Http, agent: &str, sections: &str) -> Vec<u8> {
    let reply = client.get(&format!("/v1/agents/{agent}/export?sections={sections}")).await;
    assert_eq!((reply.status, reply.header("content-type")), (200, "application/gzip"), "{}", reply.text());
    assert_eq!(reply.header("content-length"), reply.body.len().to_string());
    reply.body
}

async fn import(client: &Http, archive: &[u8]) -> Reply {
    client.upload("/v1/agents/import", &[], "agent.tar.gz", archive).await
}

async fn merge(client: &Http, agent: &str, query: &str, archive: &[u8]) -> Reply {
    client.upload(&format!("/v1/agents/{agent}/import{query}"), &[], "agent.tar.gz", archive).await
}

/// The events of an answer: names and data.
fn events(reply: &Reply) -> Vec<(String, Value)> {
    assert_eq!((reply.status, reply.header("content-type")), (200, "text/event-stream"), "{}", reply.text());
    let event = |text: &str| {
        let (name, data) = text.split_once('\n').unwrap();
        let (name, data) = (name.strip_prefix("event: ").unwrap(), data.strip_prefix("data: ").unwrap());
        (name.to_owned(), serde_json::from_str(data).unwrap())
    };
    reply.text().split_terminator("\n\n").filter(|text| !text.starts_with(':')).map(event).collect()
}

/// The phases that were told, as `phase status`, each once.
fn phases(events: &[(String, Value)]) -> Vec<String> {
    let told = events.iter().filter(|(name, _)| name == "progress");
    let mut phases: Vec<_> = told.map(|(_, data)| format!("{} {}", data["phase"].as_str().unwrap(), data["status"].as_str().unwrap())).collect();
    phases.dedup();
    phases
}

async fn write_file(client: &Http, agent: &str, path: &str, content: &str) {
    let body = json!({"tool": "write_file", "args": {"path": path, "content": content}, "agentId": agent});
    client.post("/v1/tools/invoke", &body).await.expect(200);
}

async fn keys(client: &Http) -> Vec<String> {
    let listed = client.get("/v1/agents").await.expect(200);
    let mut keys: Vec<String> = listed["agents"].as_array().unwrap().iter().map(|agent| agent["agent_key"].as_str().unwrap().to_owned()).collect();
    keys.sort();
    keys
}

/// Every file below a directory, by path.
fn tree(root: &Path) -> BTreeMap<String, String> {
    let files = crate::upstream::walk(root);
    let read = |path: std::path::PathBuf| {
        (path.strip_prefix(root).unwrap().to_str().unwrap().to_owned(), String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned())
    };
    files.into_iter().map(read).collect()
}

/// A gateway whose owner has an agent `fox` with something in every section that there is.
async fn with_full_fox(edition: Edition) -> (Server, Value) {
    let server = Server::start(edition).await;
    let owner = server.owner();
    let fields = json!({
        "display_name": "Cáo", "frontmatter": "Knows the woods.", "agent_type": "predefined", "model": "stub", "provider": "openai", "context_window": 64_000,
        "max_tool_iterations": 7, "tools_config": {"profile": "full", "deny": ["exec"]}, "sandbox_config": {"mode": "off"}, "subagents_config": {"maxConcurrent": 2},
        "memory_config": {"enabled": false}, "compaction_config": {"keepLastMessages": 6}, "context_pruning": {"mode": "off"},
        "other_config": {"emoji": "🦊", "unknown": [1, null, {"deep": true}]}, "budget_monthly_cents": 500,
    });
    let fox = create_agent_with(&owner, "fox", fields).await;
    let id = fox["id"].as_str().unwrap().to_owned();
    for (user, content) in [("mai", "# Mai\n"), ("group:telegram:-100", "# Group\n"), ("a%2Fb", "slash"), ("a_b", "plain")] {
        owner.put(&format!("/v1/agents/{id}/instances/{user}/files/USER.md"), &json!({"content": content})).await.expect(200);
    }
    owner.patch(&format!("/v1/agents/{id}/instances/mai/metadata"), &json!({"metadata": {"display_name": "Mai"}})).await.expect(200);
    write_file(&owner, "fox", "notes/today.txt", "It rains.").await;
    write_file(&owner, "fox", "large.txt", &"x".repeat(600_000)).await;
    (server, fox)
}

const FOX: (&str, &str) =
    ("agent.json", r#"{"agent_key":"fox","display_name":"Fox","provider":"openai","model":"stub","agent_type":"open","status":"inactive"}"#);

on_both_editions! {
    async fn what_is_exported_is_imported_without_a_difference(edition) {
        let (server, fox) = with_full_fox(edition).await;
        let preview = server.owner().get("/v1/agents/fox/export/preview").await.expect(200);
        let expected = json!({
            "context_files": 4, "user_context_files_users": 5, "memory_global": 0, "memory_per_user": 0, "kg_entities": 0, "kg_relations": 0, "cron_jobs": 0,
            "user_profiles": 5, "user_overrides": 0, "team_tasks": 0, "team_members": 0, "agent_links": 0, "workspace_files": 2,
        });
        assert_eq!(preview, expected);
        let first = exported(&server.owner(), fox["id"].as_str().unwrap(), ALL).await;
        let files = unpacked(&first);
        let of_users = files.keys().filter(|path| path.starts_with("user_context_files/")).count();
        assert!(of_users >= 5, "the owner has files as well");
        let described: Value = serde_json::from_slice(&files["agent.json"]).unwrap();
        for key in described.as_object().unwrap().keys() {
            assert_eq!(described[key], fox[key], "{key}");
        }
        for key in ["owner_id", "tenant_id", "workspace", "budget_monthly_cents", "id"] {
            assert_eq!(described.get(key), None, "{key}");
        }
        let manifest: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
        assert_eq!((&manifest["version"], &manifest["format"], &manifest["exported_by"]), (&json!(1), &json!("goclaw-agent-export"), &json!("system")));
        assert_eq!((&manifest["agent_key"], &manifest["agent_id"], &manifest["user_ids"]), (&json!("fox"), &fox["id"], &json!({"a_b": "a/b", "a_b~2": "a_b"})));
        let sections = json!({
            "config": {"count": 1}, "context_files": {"count": 4}, "user_context_files": {"count": of_users}, "user_profiles": {"count": 5},
            "workspace": {"file_count": 2, "total_bytes": 600_009},
        });
        assert_eq!(manifest["sections"], sections);
        assert_eq!(files["user_context_files/group:telegram:-100/USER.md"], b"# Group\n");

        let fresh = Server::start(edition).await;
        for key in ["fox", "fox-2"] {
            let summary = import(&fresh.owner(), &first).await.expect(201);
            let expected = json!({
                "agent_id": summary["agent_id"], "agent_key": key, "context_files": 4, "memory_docs": 0, "kg_entities": 0, "kg_relations": 0,
                "user_context_files": of_users, "user_profiles": 5, "workspace_files": 2,
            });
            assert_eq!(summary, expected);
            let mut again = unpacked(&exported(&fresh.owner(), key, ALL).await);
            let mut before = files.clone();
            for files in [&mut again, &mut before] {
                let mut manifest: Value = serde_json::from_slice(&files.remove("manifest.json").unwrap()).unwrap();
                for key in ["exported_at", "agent_id", "agent_key"] {
                    manifest.as_object_mut().unwrap().remove(key);
                }
                files.insert("manifest.json".to_owned(), manifest.to_string().into_bytes());
                let agent = String::from_utf8(files["agent.json"].clone()).unwrap().replace("\"fox-2\"", "\"fox\"");
                files.insert("agent.json".to_owned(), agent.into_bytes());
                // Directories are those of the first contact, here.
                let profiles = String::from_utf8(files.remove("user_profiles.jsonl").unwrap()).unwrap();
                let rows = profiles.lines().map(|line| { let mut row: Value = serde_json::from_str(line).unwrap(); row.as_object_mut().unwrap().remove("workspace"); row.to_string() });
                files.insert("user_profiles.jsonl".to_owned(), rows.collect::<Vec<_>>().join("\n").into_bytes());
            }
            assert_eq!(again.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
            for (path, content) in &again {
                assert!(*content == before[path], "{path}: {} and {}", String::from_utf8_lossy(content), String::from_utf8_lossy(&before[path]));
            }
        }
        let agent = fresh.owner().get("/v1/agents/fox-2").await.expect(200);
        assert_eq!((&agent["owner_id"], &agent["status"], agent.get("budget_monthly_cents")), (&json!("system"), &json!("active"), None));
        assert!(agent["workspace"].as_str().unwrap().ends_with("/workspace/fox-2"));
    }

    async fn sections_are_those_that_were_asked_for(edition) {
        let (server, _) = with_full_fox(edition).await;
        let paths = async |sections: &str| {
            let reply = server.owner().get(&format!("/v1/agents/fox/export{sections}")).await;
            let day = reply.header("content-disposition").split('-').next_back().unwrap().trim_end_matches(".tar.gz\"").to_owned();
            assert!(day.len() == 8 && day.bytes().all(|byte| byte.is_ascii_digit()), "{day}");
            assert!(reply.header("content-disposition").starts_with("attachment; filename=\"agent-fox-"));
            let mut roots: Vec<String> = unpacked(&reply.body).into_keys().map(|path| path.split('/').next().unwrap().to_owned()).collect();
            roots.dedup();
            roots
        };
        assert_eq!(paths("").await, ["agent.json", "context_files", "manifest.json", "user_context_files"]);
        assert_eq!(paths("?sections=workspace,nonsense").await, ["agent.json", "manifest.json", "workspace"]);
        assert_eq!(paths("?sections=config,user_profiles").await, ["agent.json", "manifest.json", "user_profiles.jsonl"]);
        assert_eq!(paths("?sections=memory,cron").await, ["agent.json", "manifest.json"]);
    }

    async fn progress_is_told_and_the_archive_is_fetched(edition) {
        let (server, fox) = with_full_fox(edition).await;
        let owner = server.owner();
        let told = events(&owner.get(&format!("/v1/agents/fox/export?stream=true&sections={ALL}")).await);
        let expected = ["config", "context_files", "user_context_files", "user_profiles", "workspace"].map(|phase| [format!("{phase} running"), format!("{phase} done")]).concat();
        assert_eq!(phases(&told), expected);
        let (name, ready) = told.last().unwrap();
        assert_eq!(name, "complete");
        let url = ready["download_url"].as_str().unwrap();
        assert!(url.starts_with(&format!("/v1/agents/{}/export/download/", fox["id"].as_str().unwrap())), "{url}");
        let token = url.rsplit('/').next().unwrap();
        for url in [url, url, &format!("/v1/export/download/{token}"), &format!("/v1/agents/other/export/download/{token}")] {
            let reply = owner.get(url).await;
            assert_eq!((reply.status, reply.header("content-type")), (200, "application/gzip"));
            assert_eq!(reply.header("content-length"), reply.body.len().to_string());
            assert_eq!((json!(reply.body.len()), reply.header("content-disposition")), (ready["file_size"].clone(), &*format!("attachment; filename=\"{}\"", ready["file_name"].as_str().unwrap())));
            assert!(unpacked(&reply.body).len() > 10);
            for stranger in [server.gateway_user("mai"), server.gateway_user("")] {
                assert_eq!(stranger.get(url).await.expect_error(403).1, "UNAUTHORIZED");
            }
            let other = server.owner().post("/v1/tenants", &json!({"name": "B", "slug": "b"})).await;
            assert!([201, 409].contains(&other.status));
            assert_eq!(owner.clone().tenant("b").get(url).await.expect_error(404).1, "NOT_FOUND");
        }
        for url in ["/v1/export/download/x", "/v1/export/download/01930000-0000-7000-8000-000000000000"] {
            assert_eq!(owner.get(url).await.expect_error(404).1, "NOT_FOUND");
        }
    }

    async fn an_archive_made_by_hand_is_imported(edition) {
        let server = Server::start(edition).await;
        let owner = server.owner();
        let entry = |path: &'static str, content: &'static str| (EntryType::Regular, path, content.as_bytes());
        let by_hand = gzip(&tar(&[
            entry("./manifest.json", r#"{"version":1,"format":"goclaw-agent-export","exported_at":"2026-01-01T00:00:00Z","agent_key":"fox","sections":{"config":{"count":1}}}"#),
            (EntryType::Directory, "workspace/", b""),
            entry("workspace/a/b.txt", "b"),
            entry("workspace/.hidden", "x"),
            entry("unknown/entry.bin", "\0"),
            entry("memory/global.jsonl", "{\"path\":\"a\",\"content\":\"b\"}\n{\"path\":\"c\",\"content\":\"d\"}\n"),
            entry("knowledge_graph/entities.jsonl", "{\"external_id\":\"x\"}\n"),
            entry("cron/jobs.jsonl", "{\"name\":\"x\"}\n"),
            entry("user_overrides.jsonl", "{\"user_id\":\"mai\"}\n"),
            entry("context_files/SOUL.md", "soul"),
            entry("user_context_files/mai/USER.md", "# Mai"),
            entry("user_profiles.jsonl", "{\"user_id\":\"mai\",\"workspace\":\"/else/where\"}\n"),
            (EntryType::Regular, FOX.0, FOX.1.as_bytes()),
        ]));
        let preview = owner.upload("/v1/agents/import/preview", &[], "a.tar.gz", &by_hand).await.expect(200);
        let skipped = json!({"cron": 1, "knowledge_graph": 1, "memory": 2, "user_overrides": 1});
        let expected = json!({
            "manifest": preview["manifest"], "context_files": 1, "memory_docs": 2, "kg_entities": 1, "kg_relations": 0, "version": 1, "format": "goclaw-agent-export",
            "exported_at": "2026-01-01T00:00:00Z", "agent_key": "fox", "sections": {"config": {"count": 1}, "agent_config": true}, "skipped": skipped,
        });
        assert_eq!((preview.clone(), &preview["manifest"]["version"]), (expected, &json!(1)));
        assert_eq!(keys(&owner).await, [""; 0], "a preview makes nothing");
        let told = events(&owner.upload("/v1/agents/import?stream=true", &[("display_name", "Red")], "a.tar.gz", &by_hand).await);
        assert_eq!(phases(&told)[..4], ["config running", "config done", "workspace running", "workspace done"]);
        let skips: Vec<_> = told.iter().filter(|(_, data)| data.get("detail").is_some()).map(|(_, data)| (data["phase"].as_str().unwrap(), data["total"].as_u64().unwrap())).collect();
        assert_eq!(skips, [("memory", 2), ("knowledge_graph", 1), ("cron", 1), ("user_overrides", 1)]);
        let (name, summary) = told.last().unwrap();
        assert_eq!((name.as_str(), &summary["agent_key"], &summary["context_files"], &summary["workspace_files"], &summary["skipped"]), ("complete", &json!("fox"), &json!(1), &json!(1), &skipped));
        let agent = owner.get("/v1/agents/fox").await.expect(200);
        assert_eq!((&agent["display_name"], &agent["status"], agent.get("memory_config")), (&json!("Red"), &json!("active"), None));
        let id = agent["id"].as_str().unwrap();
        assert_eq!(owner.get(&format!("/v1/agents/{id}/instances/mai/files/USER.md")).await.expect(200)["content"], "# Mai");
        assert_eq!(owner.get(&format!("/v1/agents/{id}/instances")).await.expect(200)["instances"][0]["user_id"], "mai");
        assert_eq!(tree(&server.dir().join("workspace")), BTreeMap::from([("fox/a/b.txt".to_owned(), "b".to_owned())]));

        let bare = archive(&[FOX]);
        let preview = owner.upload("/v1/agents/import/preview", &[], "a.tar.gz", &bare).await.expect(200);
        assert_eq!((&preview["manifest"], &preview["sections"], &preview["agent_key"]), (&json!(null), &json!({"agent_config": true}), &json!("fox")));
        let nothing = owner.upload("/v1/agents/import/preview", &[], "a.tar.gz", &archive(&[("a", "b")])).await.expect(200);
        assert_eq!((&nothing["manifest"], &nothing["sections"], &nothing["agent_key"]), (&json!(null), &json!({}), &json!("")));
        for (fields, key) in [(vec![], "fox-2"), (vec![("agent_key", "wolf")], "wolf"), (vec![("agent_key", "wolf"), ("display_name", "W")], "wolf-2")] {
            assert_eq!(owner.upload("/v1/agents/import", &fields, "a.tar.gz", &bare).await.expect(201)["agent_key"], key);
        }
        let nameless = archive(&[("agent.json", r#"{"display_name":"Old Grey Wolf!"}"#)]);
        assert_eq!(import(&owner, &nameless).await.expect(201)["agent_key"], "old-grey-wolf");
    }

    async fn hostile_archives_change_nothing(edition) {
        let server = Server::start(edition).await;
        let owner = server.owner();
        create_agent(&owner, "owl").await;
        let whole = archive(&[FOX, ("workspace/a", "a"), ("context_files/SOUL.md", "x")]);
        let with = |path: &'static str, content: &'static str| archive(&[FOX, ("workspace/a", "a"), ("context_files/SOUL.md", "x"), (path, content)]);
        let linked = |kind: EntryType| gzip(&tar(&[(EntryType::Regular, FOX.0, FOX.1.as_bytes()), (kind, "workspace/link", b"")]));
        let bad = [
            ("escaping", with("workspace/../../x", "x")), ("absolute", with("/tmp/goclaw-x", "x")), ("symlink", linked(EntryType::Symlink)), ("hard link", linked(EntryType::Link)),
            ("device", linked(EntryType::Char)), ("cut off", whole[..whole.len() - 5].to_vec()), ("no gzip", b"hello".to_vec()), ("no tar", gzip(b"hello")), ("nothing", vec![]),
            ("team", with("manifest.json", r#"{"version":1,"format":"goclaw-team-export"}"#)), ("version", with("manifest.json", r#"{"version":2,"format":"goclaw-agent-export"}"#)),
            ("manifest", with("manifest.json", "[]")), ("profiles", with("user_profiles.jsonl", "{\"user_id\":5}")), ("memory", with("memory/global.jsonl", "x")),
        ];
        let before = tree(server.dir().join("workspace").as_path());
        for (what, archive) in &bad {
            for reply in [
                import(&owner, archive).await, merge(&owner, "owl", "", archive).await, owner.upload("/v1/agents/import/preview", &[], "a.tar.gz", archive).await,
            ] {
                assert_eq!(reply.expect_error(400).1, "INVALID_REQUEST", "{what}");
            }
        }
        // Many small members make a large whole.
        let bomb = gzip(&vec![0; 10 << 20]).repeat(51);
        let (text, _) = owner.upload("/v1/agents/import/preview", &[], "a.tar.gz", &bomb).await.expect_error(400);
        assert!(text.contains("500 MiB"), "{text}");
        for (what, archive, fields) in [
            ("no agent", archive(&[("workspace/a", "a")]), vec![]), ("agent", archive(&[("agent.json", "5")]), vec![]), ("key of the archive", archive(&[("agent.json", r#"{"agent_key":"Bad_Key"}"#)]), vec![]),
            ("key of the form", archive(&[FOX, ("workspace/a", "a")]), vec![("agent_key", "Bad_Key")]), ("no key", archive(&[("agent.json", r#"{"display_name":"狐"}"#)]), vec![]),
            ("type", archive(&[("agent.json", r#"{"agent_key":"fox","agent_type":"x"}"#), ("workspace/a", "a")]), vec![]),
        ] {
            assert_eq!(owner.upload("/v1/agents/import", &fields, "a.tar.gz", &archive).await.expect_error(400).1, "INVALID_REQUEST", "{what}");
        }
        for body in ["", "{}"] {
            assert_eq!(owner.send("POST", "/v1/agents/import", "application/json", body.into()).await.expect_error(400).1, "INVALID_REQUEST");
        }
        let failed = events(&owner.upload("/v1/agents/import?stream=true", &[], "a.tar.gz", &bad[0].1).await);
        let (name, data) = failed.last().unwrap();
        assert_eq!((name.as_str(), &data["phase"], &data["status"]), ("error", &json!("import"), &json!("error")));
        assert!(data["detail"].as_str().unwrap().contains("leads out"), "{data}");
        let failed = events(&merge(&owner, "owl", "?stream=true", &bad[0].1).await);
        let (name, data) = failed.last().unwrap();
        assert_eq!((name.as_str(), &data["phase"], &data["rolled_back"]), ("error", &json!("merge"), &json!(true)));

        assert_eq!(keys(&owner).await, ["owl"]);
        assert_eq!(unpacked(&exported(&owner, "owl", ALL).await).into_keys().collect::<Vec<_>>(), ["agent.json", "manifest.json"]);
        assert_eq!(tree(server.dir().join("workspace").as_path()), before);
        assert!(!server.dir().join("x").exists() && !Path::new("/tmp/goclaw-x").exists());
    }

    async fn an_import_that_fails_takes_back_what_it_did(edition) {
        let server = Setup::new(edition).await.config(json!({"edition": {"limits": {"max_agents": 1}}})).start().await;
        let owner = server.owner();
        create_agent(&owner, "owl").await;
        let archive = archive(&[FOX, ("workspace/deep/er/a", "a"), ("context_files/SOUL.md", "x")]);
        assert_eq!(import(&owner, &archive).await.expect_error(409).1, "FAILED_PRECONDITION");
        assert_eq!(keys(&owner).await, ["owl"]);
        assert!(!server.dir().join("workspace/fox").exists());
        owner.delete(&format!("/v1/agents/{}", owner.get("/v1/agents/owl").await.json()["id"].as_str().unwrap())).await.expect(200);
        assert_eq!(import(&owner, &archive).await.expect(201)["agent_key"], "fox");
    }

    async fn an_archive_goes_into_an_agent(edition) {
        let tenants = Tenants::start(edition).await;
        let mai = tenants.client(&tenants.a_admin, "mai");
        let owl = create_agent_with(&mai, "owl", json!({"agent_type": "predefined", "display_name": "Owl"})).await;
        let place = tenants.server.dir().join("workspace/tenants/a/owl");
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join("a"), "kept").unwrap();
        let archive = archive(&[FOX, ("context_files/SOUL.md", "new soul"), ("user_context_files/lan/USER.md", "# Lan"), ("user_profiles.jsonl", "{\"user_id\":\"lan\"}"), ("workspace/a", "new"), ("workspace/b", "b"), ("cron/jobs.jsonl", "{}")]);
        let only = merge(&mai, "owl", "?include=user_profiles,cron", &archive).await.expect(200);
        assert_eq!((&only["context_files"], &only["user_profiles"], &only["workspace_files"], &only["skipped"]), (&json!(0), &json!(1), &json!(0), &json!({"cron": 1})));
        let told = events(&merge(&mai, owl["id"].as_str().unwrap(), "?stream=true", &archive).await);
        assert_eq!(phases(&told)[..2], ["workspace running", "workspace done"]);
        let summary = &told.last().unwrap().1;
        let expected = json!({
            "agent_id": owl["id"], "agent_key": "owl", "context_files": 1, "memory_docs": 0, "kg_entities": 0, "kg_relations": 0,
            "user_context_files": 1, "user_profiles": 0, "workspace_files": 1, "skipped": {"cron": 1},
        });
        assert_eq!(*summary, expected);
        assert_eq!(mai.get("/v1/agents/owl").await.expect(200), owl, "its configuration stays");
        assert_eq!(tree(&place), BTreeMap::from([("a", "kept"), ("b", "b")].map(|(path, content)| (path.to_owned(), content.to_owned()))));
        let log = mai.get("/v1/activity?action=agent.imported").await.expect(200);
        assert_eq!((&log["total"], &log["logs"][0]["entity_id"]), (&json!(2), &owl["id"]));
    }

    async fn archives_are_for_owners(edition) {
        let tenants = Tenants::start(edition).await;
        let mai = tenants.client(&tenants.a_admin, "mai");
        create_agent_with(&mai, "fox", json!({"is_default": true})).await;
        let archive = archive(&[FOX]);
        let strangers = [(tenants.client(&tenants.a_admin, "lan"), 403), (tenants.client(&tenants.a_admin, ""), 403), (tenants.client(&tenants.b_admin, "mai"), 404)];
        for (client, status) in &strangers {
            for path in ["/v1/agents/fox/export/preview", "/v1/agents/fox/export", "/v1/agents/fox/export?stream=true"] {
                client.get(path).await.expect_error(*status);
            }
            merge(client, "fox", "", &archive).await.expect_error(*status);
            import(client, &archive).await.expect_error(403);
            client.upload("/v1/agents/import/preview", &[], "a.tar.gz", &archive).await.expect_error(403);
        }
        merge(&tenants.client(&tenants.a_operator, "mai"), "fox", "", &archive).await.expect_error(403);
        import(&mai, &archive).await.expect_error(403);
        assert_eq!(keys(&mai).await, ["fox"]);
        exported(&tenants.client(&tenants.a_viewer, "mai"), "fox", ALL).await;
        let owner = tenants.server.owner().tenant("b");
        assert_eq!(import(&owner, &archive).await.expect(201)["agent_key"], "fox");
        assert_eq!(owner.get("/v1/agents/fox").await.expect(200)["tenant_id"], json!(tenants.b));
        let told = events(&mai.get("/v1/agents/fox/export?stream=true").await);
        let url = told.last().unwrap().1["download_url"].as_str().unwrap().to_owned();
        assert_eq!(mai.get(&url).await.status, 200);
        for (client, status) in &strangers {
            client.get(&url).await.expect_error(*status);
        }
    }

    async fn files_of_others_are_not_exported(edition) {
        let server = Server::start(edition).await;
        let owner = server.owner();
        let root = server.dir().join("workspace");
        create_agent_with(&owner, "all", json!({"workspace": server.dir().to_str().unwrap()})).await;
        create_agent(&owner, "fox").await;
        for (path, content) in [("workspace/fox/own", "fox"), ("workspace/tenants/b/x/own", "tenant"), ("workspace/free", "free"), ("workspace/.hidden", "hidden")] {
            let path = server.dir().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        std::os::unix::fs::symlink(server.dir().join("config.json5"), root.join("link")).unwrap();
        let paths: Vec<String> = unpacked(&exported(&owner, "all", "workspace").await).into_keys().collect();
        assert_eq!(paths, ["agent.json", "manifest.json", "workspace/gateway.log", "workspace/workspace/free"]);
    }

    async fn of_many_imports_at_once_each_makes_an_agent_of_its_own(edition) {
        let server = Server::start(edition).await;
        let owner = server.owner();
        let archive = archive(&[FOX, ("workspace/a", "a"), ("context_files/SOUL.md", "x")]);
        let imported = futures_util::future::join_all((0..4).map(|_| import(&owner, &archive))).await;
        let mut made: Vec<String> = imported.iter().map(|reply| reply.expect(201)["agent_key"].as_str().unwrap().to_owned()).collect();
        made.sort();
        assert_eq!((made.clone(), keys(&owner).await), (["fox", "fox-2", "fox-3", "fox-4"].map(str::to_owned).to_vec(), made));
        let files = tree(&server.dir().join("workspace"));
        assert_eq!(files.keys().collect::<Vec<_>>(), ["fox-2/a", "fox-3/a", "fox-4/a", "fox/a"]);
    }

    async fn nothing_is_left_on_the_disk(edition) {
        let (mut server, _) = with_full_fox(edition).await;
        let names = |server: &Server| {
            let found = fs::read_dir(server.dir().join("data")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let mut names: Vec<String> = found.filter(|name| !name.starts_with("goclaw.db")).collect();
            names.sort();
            names
        };
        let before = names(&server);
        let told = events(&server.owner().get(&format!("/v1/agents/fox/export?stream=true&sections={ALL}")).await);
        assert_eq!(told.last().unwrap().0, "complete");
        import(&server.owner(), &exported(&server.owner(), "fox", ALL).await).await.expect(201);
        assert_eq!(names(&server), before, "an export that waits has no name");
        server.crash().await;
        assert_eq!(names(&server), before);
        server.restart().await;
        let url = told.last().unwrap().1["download_url"].as_str().unwrap().to_owned();
        assert_eq!(server.owner().get(&url).await.expect_error(404).1, "NOT_FOUND");
        assert_eq!(keys(&server.owner()).await, ["fox", "fox-2"]);
    }
}
