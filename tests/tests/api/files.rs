//! Files over HTTP, and links to them.

use crate::common::{Tenants, create_agent, create_agent_with};
use goclaw_tests::{Edition, Http, Server, eventually};
use serde_json::{Value, json};
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// A file below the gateway's directory, with its name as content.
fn put(server: &Server, path: &str) -> PathBuf {
    let path = server.dir().join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, path.file_name().unwrap().as_encoded_bytes()).unwrap();
    path
}

/// The path of a file's URL.
fn url(path: &Path) -> String {
    let escaped: String = path
        .to_str()
        .unwrap()
        .bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() || b"/._-".contains(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect();
    format!("/v1/files{escaped}")
}

async fn sign(client: &Http, path: &Path) -> String {
    let reply = client.post("/v1/files/sign", &json!({"path": path})).await.expect(200);
    reply["url"].as_str().unwrap().to_owned()
}

/// A gateway with two tenants that have an agent `fox` each, which everybody may use.
async fn with_foxes(edition: Edition) -> Tenants {
    let tenants = Tenants::start(edition).await;
    for key in [&tenants.a_admin, &tenants.b_admin] {
        create_agent_with(&tenants.client(key, "boss"), "fox", json!({"is_default": true})).await;
    }
    tenants
}

on_both_editions! {
    async fn a_link_opens_its_file_without_credentials_and_nothing_else(edition) {
        let mut server = Server::start(edition).await;
        let (path, other) = (put(&server, "workspace/fox/ws/mai/tệp tin 1.png"), put(&server, "workspace/fox/ws/mai/b.png"));
        let link = sign(&server.owner(), &path).await;
        let (target, token) = link.split_once("?ft=").unwrap();
        assert_eq!(target, url(&path));
        let anonymous = server.anonymous();
        let reply = anonymous.get(&link).await;
        assert_eq!((reply.status, reply.text().as_str(), reply.header("Content-Type")), (200, "tệp tin 1.png", "image/png"));
        let (signature, expiry) = token.split_once('.').unwrap();
        let other_signature = format!("{}{}", if signature.starts_with('A') { 'B' } else { 'A' }, &signature[1..]);
        let later = expiry.parse::<i64>().unwrap() + 1;
        let bad = [
            format!("{}?ft={token}", url(&other)), format!("{target}?ft={signature}.{later}"), format!("{target}?ft={other_signature}.{expiry}"), format!("{target}?ft="), format!("{target}?ft={signature}"),
            format!("{target}?ft={signature}.1000000000"), format!("/v1/media/x?ft={token}"),
        ];
        for link in &bad {
            for client in [&anonymous, &server.owner()] {
                let (text, code) = client.get(link).await.expect_error(401);
                assert_eq!((text.as_str(), code.as_str()), ("the link does not hold, or not any more", "UNAUTHORIZED"), "{link}");
            }
        }
        server.stop().await;
        server.restart().await;
        server.anonymous().get(&link).await.expect_error(401);
        assert_eq!(server.owner().get(&url(&path)).await.status, 200);
    }

    async fn a_file_is_served_with_its_type_in_parts_and_on_condition(edition) {
        let server = Server::start(edition).await;
        let path = put(&server, "workspace/fox/ws/mai/chữ số.txt");
        fs::write(&path, "0123456789").unwrap();
        let (client, url) = (server.owner(), url(&path));
        let reply = client.get(&url).await;
        assert_eq!((reply.status, reply.text().as_str()), (200, "0123456789"));
        for (name, value) in [("Content-Type", "text/plain; charset=utf-8"), ("Accept-Ranges", "bytes"), ("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "no-referrer")] {
            assert_eq!(reply.header(name), value, "{name}");
        }
        assert!(reply.header("Content-Disposition").starts_with("inline") && !reply.header("Last-Modified").is_empty());
        let part = client.clone().header("Range", "bytes=2-4").get(&url).await;
        assert_eq!((part.status, part.text().as_str(), part.header("Content-Range")), (206, "234", "bytes 2-4/10"));
        assert_eq!(client.clone().header("Range", "bytes=20-").get(&url).await.status, 416);
        assert_eq!(client.clone().header("If-None-Match", reply.header("ETag")).get(&url).await.status, 304);
        let head = client.send("HEAD", &url, "", vec![]).await;
        assert_eq!((head.status, head.header("Content-Length"), head.body.len()), (200, "10", 0));
        let saved = client.get(&format!("{url}?download=true")).await;
        assert_eq!(saved.header("Content-Disposition"), "attachment; filename=\"ch_ s_.txt\"; filename*=UTF-8''ch%E1%BB%AF%20s%E1%BB%91.txt");
        let escaped = format!("/v1/files/{}", url["/v1/files".len()..].replace('/', "%2F"));
        assert_eq!(client.get(&escaped).await.text(), "0123456789");
        assert_eq!(server.anonymous().get(&format!("{url}?token={}", goclaw_tests::server::GATEWAY_TOKEN)).await.status, 200);
        server.anonymous().get(&format!("{url}?token=wrong")).await.expect_error(401);
        server.anonymous().get(&url).await.expect_error(401);
        assert!(!server.log().contains("?token="), "tokens of queries are not logged");
        assert_eq!(client.post(&url, &json!({})).await.status, 405);
    }

    async fn what_runs_code_is_not_shown_on_the_dashboards_origin(edition) {
        let server = Server::start(edition).await;
        for name in ["a.html", "a.svg", "a.xml", "a.js", "a.xhtml"] {
            let reply = server.owner().get(&url(&put(&server, &format!("workspace/fox/ws/mai/{name}")))).await;
            assert!(reply.header("Content-Disposition").starts_with("attachment") && reply.header("Content-Security-Policy").starts_with("sandbox"), "{name}: {:?}", reply.headers);
        }
        let page = server.dir().join("workspace/fox/ws/mai/page");
        fs::write(&page, "<!DOCTYPE html><script>alert(1)</script>").unwrap();
        assert!(server.owner().get(&url(&page)).await.header("Content-Disposition").starts_with("attachment"));
    }

    async fn what_is_no_path_or_no_users_file_is_refused(edition) {
        let server = Server::start(edition).await;
        let client = server.owner();
        for path in ["/v1/files/", "/v1/files//etc/passwd", "/v1/files/tmp/..%2fx", "/v1/files/a%2f%2e%2e%2fb", "/v1/files/a%00b", "/v1/files/a//b", "/v1/files/%ff", "/v1/files/a%2f.%2fb"] {
            assert_eq!(client.get(path).await.expect_error(400).1, "INVALID_REQUEST", "{path}");
        }
        for path in ["/etc/passwd", "/proc/self/environ", "/root/.bashrc", "/var/log/syslog"] {
            client.get(&url(Path::new(path))).await.expect_error(403);
        }
        put(&server, "workspace/fox/.env");
        put(&server, "data/uploads/mai/id.key");
        put(&server, "data/gateway.token");
        put(&server, "data/other/a.txt");
        let secret = put(&server, "secret.txt");
        for path in ["config.json5", "data/goclaw.db", "data/goclaw.db.lock", "data/gateway.token", "data/other/a.txt", "data/uploads/mai/id.key", "workspace/fox/.env", "secret.txt", "workspace", "workspace/fox"] {
            client.get(&url(&server.dir().join(path))).await.expect_error(404);
        }
        let inside = put(&server, "workspace/fox/ws/mai/here.txt");
        let link = |name: &str| inside.with_file_name(name);
        symlink(&secret, link("link.txt")).unwrap();
        symlink(server.dir(), link("dir")).unwrap();
        fs::hard_link(&secret, link("hard.txt")).unwrap();
        for name in ["link.txt", "dir/secret.txt", "hard.txt", "dir/data/goclaw.db"] {
            client.get(&url(&link(name))).await.expect_error(404);
        }
        for (path, status) in [(json!("/etc/passwd"), 403), (json!(server.dir().join("config.json5")), 403), (json!(server.dir().join("data/goclaw.db")), 403), (json!(secret), 403), (json!(""), 400), (json!("a.txt"), 400), (json!("/a/../b"), 400), (json!(5), 400)] {
            client.post("/v1/files/sign", &json!({"path": path})).await.expect_error(status);
        }
        client.post("/v1/files/sign", &json!({})).await.expect_error(400);
        client.send("POST", "/v1/files/sign", "application/json", b"{".to_vec()).await.expect_error(400);
    }

    async fn a_file_is_found_by_its_name_alone_and_without_its_time_stamp(edition) {
        let tenants = with_foxes(edition).await;
        let server = &tenants.server;
        let made = put(server, "workspace/tenants/a/fox/ws/mai/generated/2026-11-27/chart_20261127-093000_123456.png");
        put(server, "workspace/tenants/b/fox/ws/mai/other.txt");
        put(server, "workspace/fox/ws/mai/masters.txt");
        let mai = tenants.client(&tenants.a_operator, "mai");
        let short = made.with_file_name("chart.png");
        for path in [&short, &made] {
            assert_eq!(mai.get(&url(path)).await.text(), "chart_20261127-093000_123456.png");
        }
        mai.get(&url(&made.with_file_name("cha.png"))).await.expect_error(404);
        mai.get(&url(&made.with_file_name("chart.jpg"))).await.expect_error(404);
        assert_eq!(mai.get("/v1/files/chart_20261127-093000_123456.png").await.status, 200);
        assert_eq!(mai.get(&url(&server.dir().join("workspace/tenants/a/fox/ws/mai/chart_20261127-093000_123456.png"))).await.status, 200, "in another directory");
        for name in ["other.txt", "masters.txt", "nothing.txt"] {
            mai.get(&format!("/v1/files/{name}")).await.expect_error(404);
        }
        tenants.client(&tenants.a_operator, "lan").get("/v1/files/chart_20261127-093000_123456.png").await.expect_error(404);
        let link = sign(&mai, &short).await;
        assert!(link.starts_with(&url(&made)), "the link is to the file that there is: {link}");
        assert_eq!(server.anonymous().get(&link).await.status, 200);
    }

    async fn another_tenants_files_are_out_of_reach(edition) {
        let tenants = with_foxes(edition).await;
        let server = &tenants.server;
        let (of_a, of_b, of_master) = (put(server, "workspace/tenants/a/fox/ws/mai/a.txt"), put(server, "workspace/tenants/b/fox/ws/mai/b.txt"), put(server, "workspace/fox/ws/mai/m.txt"));
        symlink(&of_b, of_a.with_file_name("link.txt")).unwrap();
        symlink(&of_b, of_master.with_file_name("link.txt")).unwrap();
        let a = tenants.client(&tenants.a_admin, "mai");
        assert_eq!(a.get(&url(&of_a)).await.status, 200);
        for path in [&of_b, &of_master, &of_a.with_file_name("link.txt"), &server.dir().join("data/tenants/b/uploads/mai/x.txt")] {
            a.get(&url(path)).await.expect_error(404);
        }
        for path in [&of_b, &of_master] {
            a.post("/v1/files/sign", &json!({"path": path})).await.expect_error(403);
        }
        assert_eq!(server.owner().get(&url(&of_b)).await.status, 200, "the installation's owner sees all");
        let link = sign(&a, &of_a.with_file_name("new.txt")).await;
        server.anonymous().get(&link).await.expect_error(404);
        // The link was made for a file that is now a way into another tenant.
        symlink(&of_b, of_a.with_file_name("new.txt")).unwrap();
        server.anonymous().get(&link).await.expect_error(404);
    }

    async fn users_see_what_is_theirs_and_admins_all_of_their_tenant(edition) {
        let tenants = with_foxes(edition).await;
        let server = &tenants.server;
        let boss = tenants.client(&tenants.a_admin, "boss");
        create_agent(&boss, "owl").await;
        let shared = json!({"workspace_sharing": {"shared_dm": true}});
        create_agent_with(&boss, "bear", json!({"other_config": shared})).await;
        let bear = boss.get("/v1/agents/bear").await.expect(200);
        boss.post(&format!("/v1/agents/{}/shares", bear["id"].as_str().unwrap()), &json!({"user_id": "mai", "role": "user"})).await.expect(201);
        let own = put(server, "workspace/tenants/a/fox/ws/mai/own.txt");
        let others = put(server, "workspace/tenants/a/fox/ws/lan/others.txt");
        let not_hers = put(server, "workspace/tenants/a/owl/ws/mai/owls.txt");
        let all = put(server, "workspace/tenants/a/bear/ws/docs/all.txt");
        let upload = put(server, "data/tenants/a/uploads/lan/lans.txt");
        for key in [&tenants.a_operator, &tenants.a_viewer] {
            let mai = tenants.client(key, "mai");
            for path in [&own, &all] {
                assert_eq!(mai.get(&url(path)).await.status, 200, "{path:?}");
            }
            for path in [&others, &not_hers, &upload] {
                mai.get(&url(path)).await.expect_error(404);
            }
        }
        for path in [&own, &others, &not_hers, &all, &upload] {
            assert_eq!(boss.get(&url(path)).await.status, 200, "{path:?}");
        }
        let mai = tenants.client(&tenants.a_operator, "mai");
        mai.post("/v1/files/sign", &json!({"path": others})).await.expect_error(403);
        assert_eq!(server.anonymous().get(&sign(&mai, &own).await).await.text(), "own.txt");
    }

    async fn what_a_crash_left_half_uploaded_goes_with_the_next_start(edition) {
        let mut server = Server::start(edition).await;
        let place = |id: char| format!("data/uploads/mai/.goclaw-{}.tmp", id.to_string().repeat(32));
        let (old, new, whole) = (put(&server, &place('a')), put(&server, &place('b')), put(&server, "data/uploads/mai/whole.txt"));
        let hours_ago = SystemTime::now() - Duration::from_secs(2 * 3_600);
        fs::File::options().write(true).open(&old).unwrap().set_modified(hours_ago).unwrap();
        server.crash().await;
        server.restart().await;
        // Another gateway may be writing the new one, where there can be another.
        eventually("what is half written to go", async || !old.exists() && (edition == Edition::Standard || !new.exists())).await;
        assert!(whole.exists() && new.exists() == (edition == Edition::Standard));
    }

    async fn links_are_in_the_audit_log(edition) {
        let tenants = with_foxes(edition).await;
        let path = put(&tenants.server, "workspace/tenants/a/fox/ws/mai/own.txt");
        sign(&tenants.client(&tenants.a_operator, "mai"), &path).await;
        let log: Value = tenants.client(&tenants.a_admin, "boss").get("/v1/activity?action=file.signed").await.expect(200);
        let entry = &log["logs"][0];
        assert_eq!((&entry["actor_id"], &entry["entity_type"], &entry["entity_id"]), (&json!("mai"), &json!("file"), &json!(path)));
    }
}
